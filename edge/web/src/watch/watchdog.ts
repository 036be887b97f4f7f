/** Tells from a counter that ought to grow whether media is flowing. It reads no clock: time comes in. */

export interface WatchdogLimits {
  /** Longest wait for the first progress, in milliseconds. */
  firstMs: number;
  /** Silence after which the picture counts as waiting. */
  slowMs: number;
  /** Silence after which the session counts as dead. */
  deadMs: number;
}

export type Verdict = "starting" | "flowing" | "slow" | "never-started" | "dead";

export class Watchdog {
  private progress: number | null = null;
  private started = false;
  private since: number;

  constructor(
    private readonly limits: WatchdogLimits,
    now: number,
  ) {
    this.since = now;
  }

  /**
   * Judges the counter at a time. While `excused` (paused, hidden tab, the
   * publisher is away) silence is no fault, and its clock starts anew.
   */
  observe(now: number, progress: number, excused: boolean): Verdict {
    // A different value, not a larger one: a reset counter is progress too.
    const moved = this.progress !== null ? progress !== this.progress : progress > 0;
    this.progress = progress;
    if (moved) {
      this.started = true;
      this.since = now;
      return "flowing";
    }
    const silent = now - this.since;
    if (excused) {
      // Slow still shows (the overlay says why); only the verdicts that end a session are withheld.
      if (silent > this.limits.slowMs) this.since = now - this.limits.slowMs - 1;
      return !this.started ? "starting" : silent > this.limits.slowMs ? "slow" : "flowing";
    }
    if (!this.started) return silent > this.limits.firstMs ? "never-started" : "starting";
    if (silent > this.limits.deadMs) return "dead";
    return silent > this.limits.slowMs ? "slow" : "flowing";
  }
}
