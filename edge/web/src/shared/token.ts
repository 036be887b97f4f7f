/**
 * The bearer token of a page. It lives in the address's fragment, `#token=…`,
 * which browsers never send: a query would end in logs and Referer headers.
 */

export function tokenInFragment(fragment: string): string {
  return new URLSearchParams(fragment.replace(/^#/, "")).get("token")?.trim() ?? "";
}

/** The fragment that carries a token to another page of ours; empty without one. */
export function fragmentOf(token: string): string {
  return token === "" ? "" : `#${new URLSearchParams({ token })}`;
}

/**
 * Puts a token into the page's address. Who listens for `hashchange` hears of it also where it stood there before: the
 * server that turned it down may take it by now.
 */
export function presentToken(token: string): void {
  if (tokenInFragment(location.hash) === token) dispatchEvent(new HashChangeEvent("hashchange"));
  else location.hash = fragmentOf(token);
}

/** Request headers that present the token; none when there is no token. */
export function authorization(token: string): Record<string, string> {
  return token === "" ? {} : { Authorization: `Bearer ${token}` };
}
