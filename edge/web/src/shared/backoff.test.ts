import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Backoff, pause } from "./backoff.ts";

describe("Backoff", () => {
  const limits = { firstMs: 500, mostMs: 8000 };

  it("doubles up to its ceiling, and stays there", () => {
    const backoff = new Backoff(limits, () => 1);
    expect([1, 2, 3, 4, 5, 6, 7].map(() => backoff.next())).toEqual([
      500, 1000, 2000, 4000, 8000, 8000, 8000,
    ]);
    for (let i = 0; i < 2000; i++) expect(backoff.next()).toBe(8000);
  });

  it("spreads over the upper half of the wait", () => {
    expect(new Backoff(limits, () => 0).next()).toBe(250);
    expect(new Backoff(limits, () => 0.5).next()).toBe(375);
  });

  it("begins anew after a reset", () => {
    const backoff = new Backoff(limits, () => 1);
    backoff.next();
    backoff.next();
    backoff.reset();
    expect(backoff.next()).toBe(500);
  });

  it("never comes back before Retry-After", () => {
    expect(new Backoff(limits, () => 0).next(3000)).toBe(3000);
    expect(new Backoff(limits, () => 1).next(3000)).toBe(4500);
  });
});

describe("pause", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("ends with its time or with the signal, whichever is first", async () => {
    const stop = new AbortController();
    const ended = vi.fn();
    void pause(1000, stop.signal).then(ended);
    await vi.advanceTimersByTimeAsync(999);
    expect(ended).not.toHaveBeenCalled();
    stop.abort();
    await vi.advanceTimersByTimeAsync(0);
    expect(ended).toHaveBeenCalledOnce();
    expect(vi.getTimerCount()).toBe(0); // no timer is left behind
    await pause(1000, stop.signal); // an aborted signal does not wait at all
  });
});
