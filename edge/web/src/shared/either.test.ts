import { describe, expect, it } from "vitest";
import { either } from "./either.ts";

describe("a signal that aborts when one of two does", () => {
  it.each([0, 1])("aborts with the reason of the first that does: %s", (which) => {
    const pair = [new AbortController(), new AbortController()];
    const signal = either(pair[0]!.signal, pair[1]!.signal);
    expect(signal.aborted).toBe(false);
    pair[which]!.abort("why");
    expect(signal.reason).toBe("why");
    pair[1 - which]!.abort("too late");
    expect(signal.reason).toBe("why");
  });

  it("has aborted where one of them has", () => {
    expect(either(new AbortController().signal, AbortSignal.abort("before")).reason).toBe("before");
    expect(either(AbortSignal.abort("before"), new AbortController().signal).reason).toBe("before");
  });
});
