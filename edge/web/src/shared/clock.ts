/**
 * The server's clock, so that delays can be told from media time, which is the
 * server's, even where the clock of this device is wrong.
 *
 * A request's answer tells the server's time at some instant between request
 * and answer. The shortest round trip tells it best: half of it is the most by
 * which it can be wrong.
 */

import { pause } from "./backoff.ts";
import type { Fetch } from "./signalling.ts";
import { either } from "./either.ts";

/** Requests at a time; the first opens the connection, which takes longer. */
const samples = 4;
const betweenMs = 150;
/** Until the next time: two quartz clocks part by some 30 ms in that. */
const renewMs = 300_000;
/** After a failure, or where the server does not tell. */
const againMs = 30_000;
/** How often to look whether this device slept, or its clock was set: one of its two clocks has then leapt past the other. */
const lookMs = 5000;
const leapMs = 100;
const answerMs = 4000;

export interface Clocks {
  /** Milliseconds since the epoch; people and NTP set it. */
  wall(): number;
  /** Milliseconds since the page began; nobody sets it. */
  steady(): number;
}

const deviceClocks: Clocks = { wall: () => Date.now(), steady: () => performance.now() };

export class ServerClock {
  /** Server's time minus steady time; null until it was measured. */
  private offset: number | null = null;
  /** Wall time minus steady time at that moment. */
  private skew = 0;

  constructor(
    private readonly fetch: Fetch = (input, init) => globalThis.fetch(input, init),
    private readonly clocks: Clocks = deviceClocks,
  ) {}

  /** Milliseconds since the epoch by the server's clock; by this device's own until the server's is known. */
  now(): number {
    return this.offset === null ? this.clocks.wall() : this.clocks.steady() + this.offset;
  }

  /** Measures now and then until the signal aborts. `base` is that of the server to ask. Never rejects. */
  async keep(base: () => string, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const told = await this.measure(base(), signal);
      const most = told ? renewMs : againMs;
      for (let waited = 0; waited < most && !this.leapt() && !signal.aborted; waited += lookMs) await pause(lookMs, signal);
    }
  }

  /** Measures once. False where the server did not tell; what was known stays. Never rejects. */
  async measure(base: string, signal: AbortSignal): Promise<boolean> {
    const { clocks } = this;
    const bounded = either(signal, AbortSignal.timeout(answerMs));
    let best: { trip: number; offset: number } | null = null;
    this.skew = clocks.wall() - clocks.steady();
    for (let i = 0; i < samples && !bounded.aborted; i++) {
      if (i > 0) await pause(betweenMs, bounded);
      const asked = clocks.steady();
      const told = await this.ask(base, bounded);
      const trip = clocks.steady() - asked;
      if (told === null) break;
      if (best === null || trip < best.trip) best = { trip, offset: told - (asked + trip / 2) };
    }
    if (best !== null) this.offset = best.offset;
    return best !== null;
  }

  private async ask(base: string, signal: AbortSignal): Promise<number | null> {
    try {
      const response = await this.fetch(`${base}/api/v1/ping`, { cache: "no-store", credentials: "omit", signal });
      const told = Number(response.headers.get("banyan-time") ?? NaN);
      return response.ok && Number.isFinite(told) ? told : null;
    } catch {
      return null;
    }
  }

  private leapt(): boolean {
    return Math.abs(this.clocks.wall() - this.clocks.steady() - this.skew) > leapMs;
  }
}
