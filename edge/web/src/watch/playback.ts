/** What the player asks of a transport: one try at bringing a stream into a video element. */

import type { Transport } from "../shared/formats.ts";
import type { Counters, Rates } from "../shared/delay.ts";
import type { Failure } from "./failure.ts";
import type { Renditions } from "./renewal.ts";

export interface Sample {
  /** Grows while media flows: decoded frames, or packets of a stream with sound only. */
  progress: number;
  counters: Counters;
  rates: Rates;
  /** Milliseconds from ingest to the screen, null while unknown. */
  delayMs: number | null;
  width: number;
  height: number;
  /** The format that plays, where the transport knows; otherwise empty. */
  format: string;
  videoCodec: string;
  audioCodec: string;
  /** More figures for the statistics panel, label and value. */
  extra: [label: string, value: string][];
}

export interface Playback {
  readonly transport: Transport;
  /** The other side said that it sends no picture this way. */
  readonly soundOnly: boolean;
  /** Resolves with the reason when the try ends by anything but close(). */
  readonly ended: Promise<Failure>;
  /** Plays another format, or "auto". Resolves to false if that takes a new try. */
  select(format: string): Promise<boolean>;
  sample(): Promise<Sample>;
  /** Whether move works at all. */
  readonly moves: boolean;
  /**
   * Goes on from another edge without a break: plays from there before it lets go of this one. Resolves to false where that
   * edge does not take it, and goes on here; it does not reject.
   */
  move(base: string, format: string, signal: AbortSignal): Promise<boolean>;
  /** What it can play without a new try, where it was told that when it began; null for a session that adapts. */
  renditions(): Renditions | null;
  /** Returns to the live edge, after a pause. */
  toLive(): void;
  close(): void;
}

export interface PlaybackOptions {
  video: HTMLVideoElement;
  stream: string;
  /** A format's name, or "auto". */
  format: string;
  token: string;
  /** The server's clock, in milliseconds since the epoch. */
  now(): number;
  /** Where a path of the server is: at the edge that plays, or at the one of the given base. */
  address(path: string, base?: string): string;
}
