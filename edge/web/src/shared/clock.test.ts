import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ServerClock } from "./clock.ts";

describe("ServerClock", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  /** A device that is an hour late, on a line whose ways there and back take so many milliseconds, by request. */
  function setUp(ways: readonly (readonly [there: number, back: number])[], headers?: (server: number) => HeadersInit) {
    const began = Date.now();
    const server = () => began + 3_600_000 + (Date.now() - began);
    const asked: string[] = [];
    let leap = 0;
    const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    const fetch = async (url: string) => {
      const [there, back] = ways[Math.min(asked.length, ways.length - 1)]!;
      asked.push(url);
      await wait(there);
      const answer = headers?.(server()) ?? { "Banyan-Time": String(server()) };
      await wait(back);
      return new Response(null, { status: 204, headers: answer });
    };
    const clocks = { wall: () => Date.now() + leap, steady: () => Date.now() - began };
    const clock = new ServerClock(fetch, clocks);
    return { clock, asked, server, leap: (ms: number) => void (leap = ms) };
  }
  const forever = () => new AbortController().signal;

  it("is the device's own until it is known, and then the server's to half of the shortest round trip", async () => {
    const { clock, asked, server } = setUp([[120, 300], [5, 9], [80, 5], [50, 50]]);
    expect(clock.now()).toBe(Date.now());
    const measured = clock.measure("http://edge", forever());
    await vi.runAllTimersAsync();
    expect(await measured).toBe(true);
    expect(asked).toEqual(Array(4).fill("http://edge/api/v1/ping"));
    expect(Math.abs(clock.now() - server())).toBeLessThanOrEqual(2);
  });

  it("stays what it was where the server does not tell", async () => {
    const { clock, asked } = setUp([[1, 1]], () => ({}));
    const measured = clock.measure("", forever());
    await vi.runAllTimersAsync();
    expect(await measured).toBe(false);
    expect(asked).toHaveLength(1);
    expect(clock.now()).toBe(Date.now());
  });

  it("is measured seldom, and at once when the device has slept or was set", async () => {
    const { clock, asked, leap } = setUp([[5, 5]]);
    const stop = new AbortController();
    const kept = clock.keep(() => "", stop.signal);
    await vi.advanceTimersByTimeAsync(200_000);
    expect(asked).toHaveLength(4);
    leap(60_000);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(asked).toHaveLength(8);
    await vi.advanceTimersByTimeAsync(310_000);
    expect(asked).toHaveLength(12);
    stop.abort();
    await kept;
  });
});
