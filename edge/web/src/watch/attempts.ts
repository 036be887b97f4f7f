/**
 * Decides what becomes of a request that failed: whether it is made again, when,
 * and at which edge. It reads no clock: time comes in, in milliseconds.
 */

import type { AnswerTimes } from "./route.ts";

/** Where addresses are loaded from, and from where they may be. */
export interface Addresses {
  /** Where an address is loaded from now. */
  of(url: string): string;
  /** Turns to another edge, as nobody answers at an address. False where there is none. */
  turn(from: string): boolean;
  /** Whether the edge in use has just been turned to, and may not have all that it soon will. */
  readonly isFresh: boolean;
  /** Whether the edge in use is dead. */
  isDead(): Promise<boolean>;
  readonly answering: Pick<AnswerTimes, "add" | "limitMs">;
}

/** How long a request is made again that no edge answers, or that a new one refuses. */
const graceMs = 3000;
/** The least time between two such requests; up to as much again by chance, as all who were at one edge ask at once. */
const againMs = 100;

/** What proxies say whose server is away. */
const [badGateway, gatewayTimeout] = [502, 504];

/** One request, from the first time that it is made. */
export class Attempts {
  private asked: string;
  private since: number | null = null;
  private failed = 0;

  constructor(
    private readonly url: string,
    private readonly route: Addresses,
    private readonly random: () => number = Math.random,
  ) {
    this.asked = route.of(url);
  }

  /** How many milliseconds after a failure the request is to be made again; null where the failure stands. A status of 0 is none. */
  next(status: number, now: number): number | null {
    this.since ??= now;
    this.failed++;
    const silent = status === 0 || status === badGateway || status === gatewayTimeout;
    const before = this.asked;
    if (silent && this.route.of(this.url) === before) this.route.turn(before);
    this.asked = this.route.of(this.url);
    const moved = this.asked !== before;
    if (moved && this.failed === 1) return 0;
    const refused = status === 404 || status >= 500;
    const excused = moved || (this.route.isFresh && (silent || refused));
    return excused && now - this.since < graceMs ? againMs * (1 + this.random()) : null;
  }

  /** Whether an answer will not come, as the edge was left or is dead. */
  async isVain(): Promise<boolean> {
    return this.route.of(this.url) !== this.asked || (await this.route.isDead());
  }

  /** There was an answer after so many milliseconds. */
  succeeded(ms: number): void {
    if (this.failed === 0) this.route.answering.add(ms);
  }
}
