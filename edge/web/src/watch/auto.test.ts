import { describe, expect, it } from "vitest";
import { Chooser, type Rung, Throughput } from "./auto.ts";

const rungs: Rung[] = [
  { peak: 1e6, mean: 0.8e6 },
  { peak: 3.3e6, mean: 2.7e6 },
];

/** Loads parts of 200 ms at a bit rate over a line of bps for so many seconds of media. */
function load(line: Throughput, bitrate: number, bps: number, seconds: number, waitMs = 0): void {
  const bytes = (bitrate / 8) * 0.2;
  for (let t = 0; t < seconds; t += 0.2) line.add(bytes, waitMs + (bytes * 8000) / bps, waitMs);
}

describe("throughput", () => {
  it("is unknown before the first load, and does not learn from a few bytes", () => {
    const line = new Throughput();
    line.add(500, 100, 1);
    expect(line.bps(0)).toBeNull();
  });

  it("notices a narrow line within two seconds", () => {
    const line = new Throughput();
    load(line, 2.7e6, 20e6, 60);
    expect(line.bps(0)).toBeCloseTo(20e6, -6);
    load(line, 2.7e6, 1.5e6, 1); // which takes 1.8 s
    expect(line.bps(0)).toBeLessThan(3.3e6);
  });

  it("does not wait for the end of a load that takes long", () => {
    const line = new Throughput();
    load(line, 2.7e6, 20e6, 60);
    line.begin(() => ({ bytes: 50_000, since: 1000 }));
    expect(line.bps(1300)).toBeCloseTo(20e6, -6);
    expect(line.bps(1500)).toBeCloseTo(0.8e6, -5);
    line.begin(() => null);
    expect(line.bps(1500)).toBeCloseTo(20e6, -6);
  });

  it("counts a load that was given up without having brought anything", () => {
    const line = new Throughput();
    load(line, 2.7e6, 20e6, 60);
    line.add(0, 2000, 0);
    expect(line.bps(0)).toBeLessThan(2e6);
  });

  it("notices within ten seconds that the line is wide again", () => {
    const line = new Throughput();
    load(line, 0.8e6, 1.5e6, 60);
    load(line, 0.8e6, 20e6, 10);
    expect(line.bps(0)).toBeGreaterThan(10e6);
  });

  it("does not count the way there and back", () => {
    const line = new Throughput();
    load(line, 2.7e6, 20e6, 10, 150);
    expect(line.bps(0)).toBeGreaterThan(15e6);
  });
});

describe("chooser", () => {
  it("keeps what fits, and leaves what does not at once", () => {
    const chooser = new Chooser();
    expect(chooser.choose(0, rungs, 1, 20e6)).toBe(1);
    expect(chooser.choose(1000, rungs, 1, 2.9e6)).toBe(1);
    expect(chooser.choose(2000, rungs, 1, 1.5e6)).toBe(0);
    expect(chooser.choose(3000, rungs, 0, 0.3e6)).toBe(0);
  });

  it("climbs when there was room for a while", () => {
    const chooser = new Chooser();
    expect(chooser.choose(0, rungs, 0, 20e6)).toBe(0);
    expect(chooser.choose(3900, rungs, 0, 20e6)).toBe(0);
    expect(chooser.choose(4000, rungs, 0, 20e6)).toBe(1);
  });

  it("climbs nowhere on a line that swings", () => {
    const chooser = new Chooser();
    for (let now = 0; now < 60_000; now += 2000) {
      expect(chooser.choose(now, rungs, 0, now % 4000 === 0 ? 20e6 : 2e6)).toBe(0);
    }
  });

  it("waits longer each time it climbed too early", () => {
    const chooser = new Chooser();
    let current = 0;
    let climbs = 0;
    for (let now = 0; now < 120_000; now += 500) {
      const next = chooser.choose(now, rungs, current, current === 0 ? 20e6 : 2e6);
      if (next > current) climbs++;
      current = next;
    }
    expect(climbs).toBeGreaterThan(1);
    expect(climbs).toBeLessThan(7);
  });

  it("stays where nothing is known, or the rung is none of the ladder's", () => {
    const chooser = new Chooser();
    expect(chooser.choose(0, rungs, 1, null)).toBe(1);
    expect(chooser.choose(0, [], -1, 1e6)).toBe(-1);
  });
});
