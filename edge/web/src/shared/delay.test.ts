import { describe, expect, it } from "vitest";
import {
  delayLabel,
  hlsDelay,
  jitterTarget,
  ratesBetween,
  RateWindow,
  sinceIngest,
  webrtcDelay,
  withinWhole,
} from "./delay.ts";

describe("rates", () => {
  it("are differences over time", () => {
    const before = {
      bytes: 1000,
      framesDecoded: 10,
      packetsReceived: 100,
      packetsLost: 1,
      jitterBufferDelay: 1,
      jitterBufferEmitted: 10,
      decodeTime: 0.1,
    };
    const after = {
      bytes: 251_000,
      framesDecoded: 40,
      packetsReceived: 190,
      packetsLost: 11,
      jitterBufferDelay: 1.6,
      jitterBufferEmitted: 40,
      decodeTime: 0.16,
      roundTrip: 0.02,
    };
    const rates = ratesBetween(before, after, 1);
    expect(rates.bitrate).toBe(2_000_000);
    expect(rates.fps).toBe(30);
    expect(rates.loss).toBeCloseTo(0.1);
    expect(rates.jitterBufferMs).toBeCloseTo(20);
    expect(rates.decodeMs).toBeCloseTo(2);
    expect(rates.fromServerMs).toBe(32); // half of 20 ms, 20 ms, 2 ms
  });

  it("are unknown where counters are missing or went back", () => {
    const rates = ratesBetween({ bytes: 5000 }, { bytes: 100 }, 1);
    expect(rates).toEqual({
      bitrate: null,
      fps: null,
      loss: null,
      jitterBufferMs: null,
      decodeMs: null,
      roundTripMs: null,
      fromServerMs: null,
    });
  });

  it("are measured over the last second", () => {
    const window = new RateWindow();
    expect(window.add(0, { bytes: 0 }).bitrate).toBeNull();
    for (let at = 250; at <= 5000; at += 250) window.add(at, { bytes: at });
    // A burst: the old calm must not dilute it for longer than the window.
    for (let at = 5250; at <= 6250; at += 250) window.add(at, { bytes: 5000 + (at - 5000) * 100 });
    expect(window.add(6500, { bytes: 5000 + 1500 * 100 }).bitrate).toBe(800_000);
  });
});

describe("live delay", () => {
  it("from the server is half the way there and back, the buffer and the decoder", () => {
    expect(webrtcDelay(40, 30, 5)).toBe(55);
    expect(webrtcDelay(null, 30, null)).toBe(30);
    expect(webrtcDelay(40, null, 5)).toBeNull(); // nothing was emitted: the picture stands
  });

  it("of HLS is the clock minus the program date-time", () => {
    expect(hlsDelay(10_000, new Date(8900))).toBe(1100);
    expect(hlsDelay(10_000, null)).toBeNull();
    expect(hlsDelay(10_000, new Date(10_400))).toBeNull(); // a clock that is behind
  });

  it("since ingest takes either epoch and distrusts nonsense", () => {
    const now = Date.parse("2026-11-23T00:00:00Z");
    expect(sinceIngest(now, now - 120)).toBe(120);
    expect(sinceIngest(now, now - 120 + 2_208_988_800_000)).toBe(120);
    expect(sinceIngest(now, now + 50)).toBeNull();
    expect(sinceIngest(now, 5000)).toBeNull();
    expect(sinceIngest(now, undefined)).toBeNull();
  });

  it.each([
    [null, "–"],
    [7, "10 ms"],
    [184, "180 ms"],
    [900, "0.9 s"],
    [9949, "9.9 s"],
    [12_400, "12 s"],
  ])("%s ms reads %s", (ms, label) => {
    expect(delayLabel(ms)).toBe(label);
  });
});

it("the jitter buffer grows with freezes and shrinks in calm", () => {
  expect(jitterTarget(0, 0, 1e9)).toBe(0);
  expect(jitterTarget(0, 1, 0)).toBe(60);
  expect(jitterTarget(300, 4, 0)).toBe(300);
  expect(jitterTarget(120, 0, 59_999)).toBe(120);
  expect(jitterTarget(120, 0, 60_000)).toBe(60);
});

it.each([
  [190, 160, 160],
  [60, 900, 60],
  [60, null, 60],
  [null, 900, null],
])("of an estimate of %s within %s ms it is %s", (part, whole, want) => expect(withinWhole(part, whole)).toBe(want));
