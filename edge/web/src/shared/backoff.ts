/** Exponential back-off with full jitter, so that viewers of a restarted server do not return together. */

export interface BackoffLimits {
  /** Ceiling of the first wait, in milliseconds. */
  firstMs: number;
  /** Ceiling of every later wait, in milliseconds. */
  mostMs: number;
}

const defaults: BackoffLimits = { firstMs: 500, mostMs: 10_000 };

/** No wait is shorter than this share of its ceiling: a jitter of zero would hammer the server. */
const leastShare = 0.5;

export class Backoff {
  private failures = 0;

  constructor(
    private readonly limits: BackoffLimits = defaults,
    private readonly random: () => number = Math.random,
  ) {}

  /** The wait before the next try, in milliseconds. A server's Retry-After is a floor under it. */
  next(retryAfterMs = 0): number {
    const ceiling = Math.min(this.limits.mostMs, this.limits.firstMs * 2 ** this.failures);
    // 2^20 times any first wait is past every ceiling; counting on would overflow.
    this.failures = Math.min(this.failures + 1, 20);
    if (retryAfterMs > 0 && retryAfterMs >= ceiling * leastShare) {
      // Spread over the half above the floor; never before what the server asked for.
      return Math.round(retryAfterMs * (1 + leastShare * this.random()));
    }
    return Math.round(ceiling * (leastShare + (1 - leastShare) * this.random()));
  }

  /** Forgets earlier failures; called when media flows again. */
  reset(): void {
    this.failures = 0;
  }
}

/** Resolves after ms, or at once when the signal aborts; never rejects. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
