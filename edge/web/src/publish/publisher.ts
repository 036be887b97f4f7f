/**
 * The publisher: keeps a camera or screen live under one name until told to
 * stop, through broken connections and restarts of the server.
 */

import { batch, signal } from "@preact/signals";
import { Backoff, pause } from "../shared/backoff.ts";
import { inWords, ProblemError } from "../shared/problem.ts";
import { type Counters, RateWindow, type Rates } from "../shared/delay.ts";
import { WhipSession, worthRetrying } from "./whip.ts";

export type PublishState = "idle" | "connecting" | "live" | "retrying";

/** What leaves this browser. */
export interface Outgoing {
  rates: Rates;
  width: number;
  height: number;
  codec: string;
  /** Why the encoder sends less than it could: "cpu", "bandwidth", or empty. */
  limit: string;
}

const sampleMs = 500;

export class Publisher {
  readonly state = signal<PublishState>("idle");
  /** A sentence on what is wrong; empty when nothing is. */
  readonly trouble = signal("");
  /** Why the server has sent this publisher away: "taken-over", "kicked"; empty when it has not. */
  readonly dismissed = signal("");
  readonly outgoing = signal<Outgoing | null>(null);
  /** When the broadcast began, in milliseconds since the epoch; null before. */
  readonly since = signal<number | null>(null);

  private stopping: AbortController | null = null;
  private session: WhipSession | null = null;
  private iceServers: RTCIceServer[] = [];

  /** Publishes until stop() or an error that trying again cannot mend. */
  async start(stream: string, token: string, media: MediaStream, maxBitrate: number): Promise<void> {
    if (this.stopping !== null) return;
    const stopping = (this.stopping = new AbortController());
    const { signal } = stopping;
    const backoff = new Backoff();
    this.trouble.value = "";
    this.dismissed.value = "";
    this.state.value = "connecting";
    while (!signal.aborted) {
      const began = performance.now();
      const error = await this.publish(
        { stream, token, media, maxBitrate, iceServers: this.iceServers },
        signal,
      );
      if (signal.aborted) break;
      this.trouble.value = sentence(error, token);
      this.dismissed.value = error instanceof ProblemError ? (error.problem.cause ?? "") : "";
      if (!worthRetrying(error)) break;
      this.state.value = "retrying";
      if (performance.now() - began > 30_000) backoff.reset();
      await pause(backoff.next(error instanceof ProblemError ? error.problem.retryAfterMs : 0), signal);
    }
    batch(() => {
      this.state.value = "idle";
      this.outgoing.value = null;
      this.since.value = null;
    });
    this.stopping = null;
  }

  /** Ends the broadcast, at the server too. */
  stop(): void {
    this.stopping?.abort();
    // At once, for a page that is being left runs no more of the loop.
    this.session?.close();
  }

  /** One session. Resolves with why it ended; never rejects. */
  private async publish(
    options: ConstructorParameters<typeof WhipSession>[0],
    signal: AbortSignal,
  ): Promise<unknown> {
    let session: WhipSession | null = null;
    try {
      session = this.session = new WhipSession(options);
      await session.open(signal);
      batch(() => {
        this.state.value = "live";
        this.trouble.value = "";
        this.since.value ??= Date.now();
      });
      const ended = await this.measure(session, signal);
      const dismissal = await session.dismissal(signal);
      return dismissal === null ? ended : new ProblemError(dismissal);
    } catch (error) {
      return error;
    } finally {
      this.iceServers = session?.session?.iceServers ?? this.iceServers;
      session?.close();
      this.session = null;
      this.outgoing.value = null; // nothing leaves any more
    }
  }

  private async measure(session: WhipSession, signal: AbortSignal): Promise<Error> {
    const window = new RateWindow();
    let ended: string | null = null;
    void session.ended.then((reason) => (ended = reason));
    while (!signal.aborted && ended === null) {
      const { counters, ...about } = outgoingIn(await session.peer.getStats());
      this.outgoing.value = { ...about, rates: window.add(performance.now(), counters) };
      await Promise.race([pause(sampleMs, signal), session.ended]);
    }
    return new Error(ended ?? "Stopped.");
  }
}

function sentence(error: unknown, token: string): string {
  if (error instanceof ProblemError) return inWords(error.problem, "publish", token).detail;
  return error instanceof Error ? error.message : String(error);
}

function outgoingIn(stats: RTCStatsReport): Omit<Outgoing, "rates"> & { counters: Counters } {
  const found = { width: 0, height: 0, codec: "", limit: "", counters: { bytes: 0, framesDecoded: 0 } };
  stats.forEach((stat: Record<string, unknown>) => {
    const number = (key: string) => (typeof stat[key] === "number" ? (stat[key] as number) : 0);
    if (stat["type"] === "outbound-rtp") {
      found.counters.bytes += number("bytesSent");
      if (stat["kind"] !== "video") return;
      found.width = number("frameWidth");
      found.height = number("frameHeight");
      // The rate window asks for frames; here they are the encoded ones.
      found.counters.framesDecoded = number("framesEncoded");
      const limit = stat["qualityLimitationReason"];
      found.limit = limit === "cpu" || limit === "bandwidth" ? limit : "";
      const codec = stats.get(String(stat["codecId"])) as { mimeType?: string } | undefined;
      found.codec = (codec?.mimeType ?? "").replace(/^\w+\//, "");
    }
    if (stat["type"] === "candidate-pair" && stat["nominated"] === true) {
      Object.assign(found.counters, { roundTrip: number("currentRoundTripTime") });
    }
  });
  return found;
}
