/**
 * What the API says of the stream that the page plays, asked every few seconds.
 *
 * A token that the server has turned down is not presented again, nor is none
 * where one is needed: the page waits for a person to bring another, and until
 * then it would only be refused, again and again.
 */

import { batch, signal } from "@preact/signals";
import { getStream, type Stream } from "../shared/api.ts";
import { poll } from "../shared/poll.ts";
import { ProblemError, wantsToken } from "../shared/problem.ts";

const pollMs = 2500;
/** While nobody publishes; nothing else of the page asks then. */
const waitingPollMs = 1500;
/** For who has waited for a publisher for a minute. */
const lazyPollMs = 5000;
const lazyAfterMs = 60_000;

export class Description {
  readonly info = signal<Stream | null>(null);
  /** Whether a publisher is sending; null until the API has said. */
  readonly live = signal<boolean | null>(null);
  /** Tokens that were turned down, "" for none. */
  private readonly barred = new Set<string>();
  /** When the API last did not say that nobody publishes. */
  private liveAt = performance.now();

  /** `asking` tells which token to present, and the base of the edge to ask. */
  constructor(
    private readonly stream: string,
    private readonly asking: () => { token: string; base: string },
  ) {}

  /** Asks until the signal aborts. Never rejects. */
  keep(signal: AbortSignal): Promise<void> {
    return poll((signal) => this.refresh(signal), () => this.pollEvery(), signal);
  }

  /** A token was turned down: nothing is asked with it until it is good again. */
  bar(token: string): void {
    this.barred.add(token);
  }

  bars(token: string): boolean {
    return this.barred.has(token);
  }

  /** Something plays, so that the token in use is good, or a person has brought one. */
  unbar(): void {
    this.barred.clear();
  }

  private pollEvery(): number {
    const now = performance.now();
    if (this.live.value !== false) this.liveAt = now;
    if (now - this.liveAt > lazyAfterMs) return lazyPollMs;
    return this.live.value === false ? waitingPollMs : pollMs;
  }

  private async refresh(signal: AbortSignal): Promise<void> {
    const { token, base } = this.asking();
    if (this.bars(token)) return;
    try {
      const info = await getStream(this.stream, token, signal, base);
      batch(() => {
        // Compared by value: a poll that brings no news redraws nothing.
        if (JSON.stringify(info) !== JSON.stringify(this.info.value)) this.info.value = info;
        this.live.value = info.live;
      });
    } catch (error) {
      if (signal.aborted) return;
      const { status } = error instanceof ProblemError ? error.problem : { status: 0 };
      if (wantsToken({ status })) this.bar(token);
      this.live.value = status === 404 ? false : null;
    }
  }
}
