/**
 * Chooses the format for a line: how fast the line is, and which rung of the
 * ladder it carries. Pure: time comes in.
 *
 * hls.js has a chooser of its own. With parts it learns of few of the loads,
 * of none that was given up, and took half a minute to notice a narrow line;
 * and it switches in the middle of a segment, which shows.
 */

import type { Gauge, Progress } from "./loaders.ts";

/** What the line carried lately, from the loads of media. */
export class Throughput implements Gauge {
  private fast = new Average(500);
  private slow = new Average(4000);
  private waits: number[] = [];
  private current: () => Progress | null = () => null;

  /** A load begins, of which load tells how far it is; null when it is over. */
  begin(load: () => Progress | null): void {
    this.current = load;
  }

  /** A load of so many bytes that took so long, and began to arrive after waitMs; also of one that was given up. */
  add(bytes: number, ms: number, waitMs: number): void {
    if (bytes < leastBytes && ms < slowMs) return;
    this.waits = [...this.waits.slice(1 - waitsKept), waitMs];
    // What is shortest of the waits is the way there and back, and no matter of how wide the line is.
    const busy = Math.max(ms - Math.min(...this.waits), leastMs);
    const bps = (bytes * 8000) / busy;
    const weight = Math.max(busy, leastWeightMs);
    this.fast.add(bps, weight);
    this.slow.add(bps, weight);
  }

  /** In bits per second: the lowest of a quick mean, a slow one, and what a load brings that takes long; null before the first. */
  bps(now: number): number | null {
    const { fast, slow } = this;
    const load = this.current();
    const ms = load === null ? 0 : now - load.since;
    const going = load === null || ms < slowMs ? Infinity : (load.bytes * 8000) / ms;
    if (fast.value === null || slow.value === null) return going === Infinity ? null : going;
    return Math.min(fast.value, slow.value, going);
  }
}

/** A load that takes longer than this tells something before it is over: a part is 200 ms of media. */
const slowMs = 400;
const leastBytes = 2000;
const leastMs = 5;
/** A line that became wide again is hardly busy: its loads must count for more than they take. */
const leastWeightMs = 100;
const waitsKept = 20;

/** A mean that forgets half of what it knows within each half-life of loading. */
class Average {
  value: number | null = null;

  constructor(private readonly halfLifeMs: number) {}

  add(sample: number, ms: number): void {
    const keep = this.value === null ? 0 : 0.5 ** (ms / this.halfLifeMs);
    this.value = (this.value ?? 0) * keep + sample * (1 - keep);
  }
}

/** A rung of the ladder, in bits per second with its sound. */
export interface Rung {
  peak: number;
  mean: number;
}

/** A rung is kept while the line carries its mean, and taken when the line would carry its peak with room to spare. */
const keepAt = 0.95;
const takeAt = 0.75;
/** How long the line must have had room for a better rung; longer each time that turned out to be wrong. */
const patienceMs = 4000;
const mostPatienceMs = 64_000;
/** A rung that had to be left within this time was taken too early. */
const regretMs = 15_000;

export class Chooser {
  private roomSince: number | null = null;
  private patience = patienceMs;
  private climbed = -Infinity;

  /** The rung to use; rungs are in ascending order of bit rate. */
  choose(now: number, rungs: readonly Rung[], current: number, bps: number | null): number {
    const rung = rungs[current];
    if (bps === null || rung === undefined) return current;
    const fits = Math.max(0, rungs.findLastIndex(({ peak }) => peak <= takeAt * bps));
    if (rung.mean > keepAt * bps) {
      this.roomSince = null;
      if (fits >= current) return Math.max(0, current - 1);
      if (now - this.climbed < regretMs) this.patience = Math.min(2 * this.patience, mostPatienceMs);
      return fits;
    }
    if (fits <= current) {
      this.roomSince = null;
      return current;
    }
    this.roomSince ??= now;
    if (now - this.roomSince < this.patience) return current;
    if (now - this.climbed > 4 * regretMs) this.patience = patienceMs;
    this.climbed = now;
    this.roomSince = null;
    return fits;
  }
}
