import { afterEach, describe, expect, it, vi } from "vitest";
import { fragmentOf, presentToken, tokenInFragment } from "./token.ts";

afterEach(() => vi.unstubAllGlobals());

describe("a token in the address", () => {
  it("comes back as it was", () => {
    for (const token of ["", "a.b-c_d", "with=signs&and spaces"]) expect(tokenInFragment(fragmentOf(token))).toBe(token);
  });

  it("is heard of when it is presented, be it the one that stood there", () => {
    let heard = 0;
    vi.stubGlobal("HashChangeEvent", Event);
    vi.stubGlobal("dispatchEvent", (event: Event) => (heard += Number(event.type === "hashchange")));
    let at = "";
    vi.stubGlobal("location", {
      get hash() {
        return at;
      },
      set hash(to: string) {
        if (to !== at) heard += 1; // as browsers do
        at = to;
      },
    });
    for (const [i, token] of ["one", "one", "two", "one"].entries()) {
      presentToken(token);
      expect([heard, tokenInFragment(location.hash)]).toEqual([i + 1, token]);
    }
  });
});
