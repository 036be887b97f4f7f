/**
 * Chooses the format for a line: how fast the line is, and which rung of the
 * ladder it carries. Pure: time comes in.
 *
 * hls.js has a chooser of its own. With parts it learns of few of the loads,
 * of none that was given up, and took half a minute to notice a narrow line;
 * and it switches in the middle of a segment, which shows.
 */

/** What the line carried lately, from the loads of media. */
export class Throughput {
  private fast = new Average(500);
  private slow = new Average(4000);
  private waits: number[] = [];

  /** A load of so many bytes that took so long, and began to arrive after waitMs. */
  add(bytes: number, ms: number, waitMs: number): void {
    if (bytes < leastBytes) return;
    this.waits = [...this.waits.slice(1 - waitsKept), waitMs];
    // What is shortest of the waits is the way there and back, and no matter of how wide the line is.
    const busy = Math.max(ms - Math.min(...this.waits), leastMs);
    const bps = (bytes * 8000) / busy;
    const weight = Math.max(busy, leastWeightMs);
    this.fast.add(bps, weight);
    this.slow.add(bps, weight);
  }

  /** In bits per second, the lower of a quick and a slow mean; null before the first load. */
  get bps(): number | null {
    if (this.fast.value === null || this.slow.value === null) return null;
    return Math.min(this.fast.value, this.slow.value);
  }
}

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
