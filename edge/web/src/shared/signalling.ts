/**
 * The HTTP half of WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): one POST
 * carries our offer and brings the answer, one DELETE ends the session. Both
 * protocols share it; they differ only in which way media flows.
 */

import { type Problem, ProblemError, readProblem, unreachable } from "./problem.ts";
import { authorization } from "./token.ts";
import { either } from "./either.ts";

export type Fetch = (input: string, init?: RequestInit) => Promise<Response>;

export interface Session {
  /** SDP answer. The server puts all its candidates in it and trickles none. */
  answer: string;
  /** Absolute URL to DELETE; empty if the server named none. */
  url: string;
  etag: string;
  /** Absolute URL that switches formats within the session; empty if the server has none. */
  layerUrl: string;
  /** TURN and STUN servers that the server recommends, with short-lived credentials. */
  iceServers: RTCIceServer[];
}

const layerRelation = "urn:ietf:params:whep:ext:core:layer";

/** Posts an offer. Rejects with ProblemError, or AbortError when the signal aborts. */
export async function postOffer(
  fetch: Fetch,
  endpoint: string,
  offer: string,
  token: string,
  signal: AbortSignal,
): Promise<Session> {
  let response: Response;
  try {
    response = await fetch(endpoint, {
      method: "POST",
      headers: { "Content-Type": "application/sdp", Accept: "application/sdp", ...authorization(token) },
      body: offer,
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ProblemError(unreachable());
  }
  if (response.status !== 201) throw new ProblemError(await readProblem(response, Date.now()));
  const base = response.url || endpoint;
  const links = parseLinks(response.headers.get("link") ?? "");
  const location = response.headers.get("location");
  return {
    answer: await response.text(),
    url: location === null ? "" : absolute(location, base),
    etag: response.headers.get("etag") ?? "",
    layerUrl:
      links.filter((link) => link.rel === layerRelation).map((link) => absolute(link.target, base))[0] ?? "",
    iceServers: iceServers(links),
  };
}

/** Ends a session. `keepalive` lets the request outlive a page that is being left. */
export function deleteSession(fetch: Fetch, url: string, token: string): void {
  if (url === "") return;
  // Nobody waits for the answer: if it is lost, consent expiry ends the session (RFC 7675).
  fetch(url, { method: "DELETE", headers: authorization(token), keepalive: true }).catch(() => undefined);
}

/** How long the server may take to say why a session has ended. */
const whyMs = 3000;

/** Asks why a session has ended. Null where the server knows nothing of that, or cannot be asked: the connection broke. */
export async function whyEnded(fetch: Fetch, url: string, token: string, signal: AbortSignal): Promise<Problem | null> {
  if (url === "") return null;
  try {
    const bounded = either(signal, AbortSignal.timeout(whyMs));
    const response = await fetch(url, { headers: authorization(token), cache: "no-store", signal: bounded });
    return response.status === 410 ? await readProblem(response, Date.now()) : null;
  } catch {
    return null;
  }
}

/** Asks the running session for another format, or "auto". Rejects with ProblemError. */
export async function postLayer(fetch: Fetch, url: string, format: string, token: string): Promise<void> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...authorization(token) },
    body: JSON.stringify({ format }),
  }).catch(() => {
    throw new ProblemError(unreachable());
  });
  if (!response.ok) throw new ProblemError(await readProblem(response, Date.now()));
}

export interface Link {
  target: string;
  rel: string;
  params: Record<string, string>;
}

/** Reads a Link header (RFC 8288 section 3), commas and semicolons inside quotes included. */
export function parseLinks(header: string): Link[] {
  const links: Link[] = [];
  const whole = /<([^>]*)>((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]*))?)*)/g;
  const param = /;\s*([^\s=;,]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?/g;
  for (const [, target, rest] of header.matchAll(whole)) {
    const params: Record<string, string> = {};
    for (const [, name, quoted, plain] of (rest ?? "").matchAll(param)) {
      params[name!.toLowerCase()] ??= quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "";
    }
    // A link may have several relations in one attribute.
    for (const rel of (params["rel"] ?? "").split(/\s+/)) {
      links.push({ target: target ?? "", rel, params });
    }
  }
  return links;
}

/** The ICE servers among links (RFC 9725 section 4.6). */
export function iceServers(links: readonly Link[]): RTCIceServer[] {
  return links
    .filter(({ rel, target }) => rel === "ice-server" && /^(stun|turn)s?:/i.test(target))
    .map(({ target, params }) => ({
      urls: target,
      ...(params["username"] === undefined ? {} : { username: params["username"] }),
      ...(params["credential"] === undefined ? {} : { credential: params["credential"] }),
    }));
}

function absolute(reference: string, base: string): string {
  // In a page a relative endpoint resolves against the page.
  const page = typeof location === "undefined" ? "http://localhost/" : location.href;
  return new URL(reference, new URL(base, page)).href;
}

/** Resolves when gathering is complete or after mostMs: the server learns late candidates from our checks. */
export function gathered(
  peer: Pick<RTCPeerConnection, "iceGatheringState" | "addEventListener" | "removeEventListener">,
  mostMs: number,
): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      peer.removeEventListener("icegatheringstatechange", check);
      resolve();
    };
    const check = () => {
      if (peer.iceGatheringState === "complete") done();
    };
    const timer = setTimeout(done, mostMs);
    peer.addEventListener("icegatheringstatechange", check);
    check();
  });
}
