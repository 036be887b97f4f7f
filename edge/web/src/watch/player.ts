/**
 * The player: keeps one stream playing in one video element.
 *
 * A single loop tries a transport, supervises it four times a second until it
 * ends, and lets the policy say what comes next. What the person chooses
 * (transport, format, token) ends the current turn of the loop and starts
 * another. The page reads the signals below and writes none of them.
 */

import { batch, computed, type ReadonlySignal, signal } from "@preact/signals";
import type { Stream } from "../shared/api.ts";
import { Backoff, pause } from "../shared/backoff.ts";
import { ServerClock } from "../shared/clock.ts";
import { browserAbilities, canCarry, type Transport, videoFormats } from "../shared/formats.ts";
import { Comeback } from "./comeback.ts";
import { Description } from "./description.ts";
import { type Failure, failure, PlaybackError } from "./failure.ts";
import { Edges } from "./edges.ts";
import { openHls } from "./hls.ts";
import { formatBySize } from "./levels.ts";
import type { Playback, Sample } from "./playback.ts";
import { absence, afterFailure, away, firstTransport, type Notice, type Step } from "./policy.ts";
import { webrtcWorks } from "./probe.ts";
import { offered, Renewal } from "./renewal.ts";
import { Sound } from "./sound.ts";
import { Watchdog, type WatchdogLimits } from "./watchdog.ts";
import { openWebrtc } from "./webrtc.ts";

export type State = "connecting" | "playing" | "waiting" | "error";

/** What the person asked for. */
export interface Wish {
  transport: "auto" | Transport;
  /** A format's name, or "auto". */
  format: string;
}

const sampleMs = 250;
/** How often the page asks which edges there are. */
const edgesMs = 5000;
/** How long the first try waits for the list of edges. */
const firstListMs = 800;
/** Silence after which the page looks whether its edge lives. */
const doubtMs = 600;

const patience: Record<Transport, WatchdogLimits> = {
  webrtc: { firstMs: 4000, slowMs: 1500, deadMs: 8000 },
  // A playlist, an init section and a first part come before the first frame.
  hls: { firstMs: 10_000, slowMs: 2000, deadMs: 7000 },
};

export class Player {
  readonly state = signal<State>("connecting");
  readonly transport = signal<Transport | "none">("none");
  readonly wish = signal<Wish>({ transport: "auto", format: "auto" });
  /** Decoded frames since the page opened, over all transports. */
  readonly frames = signal(0);
  readonly sample = signal<Sample | null>(null);
  readonly notice = signal<Notice | null>(null);
  /** The base of the edge that plays; empty for the page's own origin. */
  readonly edge = signal("");
  /** Why HLS plays though WebRTC is first; empty otherwise. */
  readonly fallbackReason = signal("");
  readonly info: ReadonlySignal<Stream | null>;
  /** Whether a publisher is sending; null until the API has said. */
  readonly live: ReadonlySignal<boolean | null>;
  readonly delayMs = computed(() =>
    this.state.value === "playing" ? (this.sample.value?.delayMs ?? null) : null,
  );
  /** The format on screen, by name; what was asked for until that is known. */
  readonly format = computed(() => this.formatOnScreen());
  /** The video formats that the current transport can bring here. */
  readonly choices = computed(() => {
    const carrier = this.transport.value === "none" ? "webrtc" : this.transport.value;
    return videoFormats(this.info.value?.formats ?? [], carrier, this.able);
  });
  readonly sound: Sound;

  private readonly able = browserAbilities();
  private readonly description: Description;
  private readonly edges: Edges;
  private readonly clock = new ServerClock();
  private readonly backoff = new Backoff();
  private readonly renewal = new Renewal();
  private readonly stopping = new AbortController();
  /** Aborted to end the loop's current turn. */
  private turn = new AbortController();
  private next: Transport | null = null;
  private playback: Playback | null = null;
  private failures = 0;
  private iceServers: RTCIceServer[] = [];
  private triedRelays = true;
  private readonly comeback = new Comeback();
  private framesBefore = 0;
  /** The person paused: a new session must not start by itself. */
  private held = false;
  private running: Promise<unknown> | null = null;
  private measuring: Promise<void> | null = null;

  constructor(
    readonly stream: string,
    readonly video: HTMLVideoElement,
    private readonly picture: StillPicture,
    private token: string,
    wish: Wish,
  ) {
    this.wish.value = wish;
    this.sound = new Sound(video);
    this.edges = new Edges(stream);
    this.description = new Description(stream, () => ({ token: this.token, base: this.edges.base }));
    this.info = this.description.info;
    this.live = this.description.live;
  }

  start(): void {
    this.running ??= Promise.all([
      this.description.keep(this.stopping.signal),
      this.run(),
      this.watchEdges(),
      this.clock.keep(() => this.edges.base, this.stopping.signal),
    ]);
  }

  /** Ends the session at the server too; a page that is being left calls this. */
  stop(): void {
    this.stopping.abort();
    this.turn.abort();
    // The loop closes it as well, but a page that unloads runs no more of the loop.
    this.playback?.close();
  }

  /** Plays another way. A new format takes effect within the session where the transport can. */
  async choose(change: Partial<Wish>): Promise<void> {
    const before = this.wish.value;
    const wish = { ...before, ...change };
    this.wish.value = wish;
    if (wish.transport !== before.transport) return this.again();
    if (wish.format === before.format) return;
    if (this.playback === null) return this.again();
    const switched = await this.playback.select(wish.format).catch(() => false);
    if (!switched) this.again();
  }

  useToken(token: string): void {
    this.token = token;
    this.description.unbar(); // a person has brought it
    this.again();
  }

  /** Begins anew with the transport that the wish asks for. */
  again(): void {
    this.next = null;
    this.failures = 0;
    this.backoff.reset();
    this.turn.abort();
  }

  togglePlay(): void {
    const { video } = this;
    this.held = !video.paused;
    if (this.held) return video.pause();
    this.playback?.toLive();
    void video.play().catch(() => undefined);
  }

  private async run(): Promise<void> {
    const { signal: stopping } = this.stopping;
    await Promise.race([this.edges.ask(this.token, stopping), pause(firstListMs, stopping)]);
    this.edges.begin();
    while (!this.stopping.signal.aborted) {
      this.turn = new AbortController();
      const { signal } = this.turn;
      if (this.live.value === false) {
        await this.waitForPublisher(signal);
        continue;
      }
      const transport = this.next ?? firstTransport({ pinned: this.pinned(), usable: this.usable() });
      const ended = await this.play(transport, signal);
      if (ended === null) continue; // the person or the page ended this turn
      if (ended.cause === "unauthorized") this.description.bar(this.token);
      console.info(`Playing by ${transport} ended: ${ended.cause}. ${ended.detail}`);
      if (await this.moved(ended, signal)) {
        this.next = transport;
        continue;
      }
      if (ended.cause === "refused" && this.pinned() === null && this.missing() !== "") {
        // Of a link or a choice that outlived its format the best there is will do; HLS has no more than WebRTC.
        this.wish.value = { ...this.wish.value, format: "auto" };
        this.next = transport;
        continue;
      }
      this.failures++;
      const step = afterFailure(transport, ended, {
        pinned: this.pinned(),
        usable: this.usable(),
        live: this.live.value,
        relaysUntried: !this.triedRelays,
        token: this.token,
        missing: this.missing(),
        failures: this.failures,
        played: this.frames.peek() > 0,
      });
      this.apply(step, transport, ended);
      await this.rest(step, ended, signal);
      if (!signal.aborted) this.next = step.transport;
    }
  }

  /** The API has said that nobody publishes: there is nothing to ask for until it says otherwise, or cannot be asked. */
  private async waitForPublisher(turn: AbortSignal): Promise<void> {
    this.wait(absence(this.frames.peek() > 0));
    const wake = new AbortController();
    turn.addEventListener("abort", () => wake.abort(), { once: true });
    const unsubscribe = this.live.subscribe((live) => {
      if (live !== false) wake.abort();
    });
    await new Promise<void>((resolve) => {
      if (wake.signal.aborted) resolve();
      else wake.signal.addEventListener("abort", () => resolve(), { once: true });
    });
    unsubscribe();
    this.backoff.reset();
  }

  /** Keeps the list of edges, also while the tab is hidden: sound plays on there, and its edge may drain. */
  private async watchEdges(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      await pause(edgesMs * (0.9 + 0.2 * Math.random()), signal); // run has asked first
      if (!signal.aborted && !this.description.bars(this.token)) await this.edges.ask(this.token, signal);
    }
  }

  /** Goes on from another edge while the one in use still serves. */
  private async move(playback: Playback, to: string, signal: AbortSignal): Promise<void> {
    const { format } = this.wish.value;
    const moved = await playback.move(to, format, signal);
    if (signal.aborted || this.playback !== playback) return;
    if (!moved) return this.edges.spurn(to);
    this.edges.settle(to);
    this.edge.value = to;
    if (this.wish.value.format !== format) await playback.select(this.wish.value.format).catch(() => false);
  }

  /** The edge to go on from without a break, as the one that plays does not answer. */
  private nextEdge(): string | null {
    if (!this.isLeft() && !this.edges.flee()) return null;
    this.edge.value = this.edges.base;
    return this.edges.base;
  }

  /** Whether the edge that plays has been found dead, and left for what is opened next, by who asked it for the list. */
  private isLeft(): boolean {
    return this.edge.peek() !== this.edges.base;
  }

  /** Turns to the next edge where the one in use is at fault for a failure. */
  private async moved(ended: Failure, signal: AbortSignal): Promise<boolean> {
    switch (ended.cause) {
      case "lost":
      case "stalled": {
        if (this.isLeft()) return true;
        const { base } = this.edges;
        return !(await this.edges.alive(signal)) && this.edges.leave(base);
      }
      case "full":
        return this.edges.pass();
      case "unreachable":
      case "busy":
        return this.edges.leave();
      default:
        return false;
    }
  }

  /** One try, from opening to its end. Null when the turn was ended from outside. */
  private async play(transport: Transport, signal: AbortSignal): Promise<Failure | null> {
    if (this.state.value === "error") this.state.value = "connecting";
    let playback: Playback | null = null;
    try {
      playback = await this.open(transport, signal);
      if (signal.aborted) return null;
      this.playback = playback;
      this.edge.value = this.edges.base;
      batch(() => {
        this.transport.value = transport;
        if (transport === "webrtc") this.fallbackReason.value = "";
      });
      if (!this.held) void this.sound.play();
      return await this.supervise(playback, signal);
    } catch (error) {
      if (signal.aborted) return null;
      return error instanceof PlaybackError
        ? error.failure
        : failure("unsupported", `This browser failed to play: ${String(error)}`);
    } finally {
      this.picture.keep();
      playback?.close();
      this.playback = null;
      batch(() => {
        this.transport.value = "none";
        this.sample.value = null;
        if (this.state.value === "playing") this.state.value = "connecting";
      });
    }
  }

  private open(transport: Transport, signal: AbortSignal): Promise<Playback> {
    const { video, stream, token } = this;
    const common = { video, stream, token, format: this.wish.value.format, now: () => this.clock.now(), address: (path: string, base?: string) => this.edges.at(path, base) };
    if (transport === "hls") {
      const formats = () => this.info.value?.formats ?? [];
      const nextEdge = () => this.nextEdge();
      const edgeIsDead = async (withinMs: number) => this.isLeft() || (await this.edges.dead(withinMs, signal));
      return openHls({ ...common, formats, nextEdge, edgeIsDead }, signal);
    }
    const iceServers = this.iceServers;
    return openWebrtc(
      {
        ...common,
        iceServers,
        onIceServers: (servers) => {
          // The server names its relays in the answer, too late for this try but not for the next.
          this.triedRelays = servers.length === 0 || iceServers.length > 0;
          this.iceServers = servers;
        },
      },
      signal,
    );
  }

  /** Watches a playback until it ends, and shows how it does. */
  private async supervise(playback: Playback, signal: AbortSignal): Promise<Failure | null> {
    const dog = new Watchdog(patience[playback.transport], performance.now());
    let ended: Failure | null = null;
    void playback.ended.then((reason) => (ended = reason));
    const begun = performance.now();
    let since = begun; // or when WebRTC was last tried behind it
    let framesHere = 0;
    let progress = { value: 0, at: since, doubted: false };
    let moving: Promise<void> | null = null;
    while (!signal.aborted) {
      const better: string | null = moving === null ? this.edges.better() : null;
      if (better !== null && playback.moves) {
        moving = this.move(playback, better, signal).finally(() => (moving = null));
      } else if (better !== null) {
        this.edges.settle(better);
        this.next = playback.transport;
        return null;
      }
      const sample = await playback.sample();
      if (signal.aborted) break;
      if (ended !== null) return ended;
      const now = performance.now();
      const excused = this.video.paused || document.hidden || this.live.value === false;
      const verdict = dog.observe(now, sample.progress, excused);
      if (excused || sample.progress !== progress.value) progress = { value: sample.progress, at: now, doubted: false };
      if (playback.transport === "webrtc" && now - progress.at > doubtMs && !progress.doubted) {
        progress.doubted = true; // the watchdog does the rest, if it lives
        if (this.isLeft() || !(await this.edges.alive(signal))) return failure("lost", "The server does not answer any more.");
      }
      const decoded = sample.counters.framesDecoded ?? 0;
      this.framesBefore += Math.max(0, decoded - framesHere);
      framesHere = Math.max(framesHere, decoded);
      batch(() => {
        this.sample.value = sample;
        this.frames.value = this.framesBefore;
        if (verdict === "flowing") this.flowing(playback.transport, now - begun);
        else if (this.live.value === false && !this.video.paused) this.wait(away);
        else if (verdict === "slow" && !this.video.paused) this.wait(null);
      });
      if (verdict === "never-started") {
        return failure("no-frames", "The connection is there, but no picture could be decoded.");
      }
      if (verdict === "dead") return failure("stalled", "Media stopped coming.");
      if (playback.soundOnly && this.pictureByHls()) {
        return failure("unsupported", "By WebRTC only the sound of this stream can come to this browser.");
      }
      const had = playback.renditions();
      const has = offered(this.info.value?.formats ?? [], this.able);
      if (had !== null && this.live.value === true && this.renewal.due(now, had, has)) {
        console.info(`Opening anew for other formats: ${[...has].join(", ")}; before: ${[...had].join(", ")}.`);
        this.next = playback.transport;
        return null;
      }
      if (this.shouldReturn(playback, now - since)) {
        if (await this.webrtcIsBack(signal)) {
          this.next = "webrtc";
          return null;
        }
        since = performance.now();
      }
      await Promise.race([pause(sampleMs, signal), playback.ended]);
    }
    return null;
  }

  /** Whether HLS has the picture that WebRTC lacks, and may take over. */
  private pictureByHls(): boolean {
    const formats = this.info.value?.formats ?? [];
    return this.pinned() === null && videoFormats(formats, "hls", this.able).length > 0;
  }

  private flowing(transport: Transport, forMs: number): void {
    if (transport === "webrtc") this.comeback.flows(forMs);
    if (this.state.value === "playing") return;
    this.state.value = "playing";
    this.notice.value = null;
    this.failures = 0;
    this.description.unbar();
    this.edges.praise();
    this.backoff.reset();
    this.picture.drop();
    // Not before the first picture, which it would make wait.
    this.measuring ??= this.edges.measure(this.token, this.stopping.signal);
  }

  private wait(notice: Notice | null): void {
    this.state.value = "waiting";
    this.notice.value = notice;
  }

  private apply(step: Step, failed: Transport, ended: Failure): void {
    batch(() => {
      this.state.value = step.state;
      this.notice.value = step.notice;
      if (failed === "webrtc" && step.transport === "hls") this.fallbackReason.value = ended.detail;
    });
  }

  /** Sleeps as the step says; a turn that ends wakes it. */
  private async rest(step: Step, ended: Failure, turn: AbortSignal): Promise<void> {
    if (step.retry === "now") return;
    const wake = new AbortController();
    turn.addEventListener("abort", () => wake.abort(), { once: true });
    if (step.retry === "never") {
      return new Promise((resolve) => wake.signal.addEventListener("abort", () => resolve(), { once: true }));
    }
    const wasLive = this.live.value;
    const unsubscribe = this.live.subscribe((live) => {
      if (step.retry === "live" && live === true && wasLive !== true) wake.abort();
    });
    await pause(this.backoff.next(ended.retryAfterMs), wake.signal);
    unsubscribe();
  }

  private shouldReturn(playback: Playback, playedMs: number): boolean {
    return (
      playback.transport === "hls" &&
      this.pinned() === null &&
      this.fallbackReason.value !== "" &&
      this.usable().has("webrtc") &&
      !document.hidden &&
      this.comeback.due(playedMs)
    );
  }

  /** Tries WebRTC behind the playing HLS, so that the picture is given up only for a better one. */
  private async webrtcIsBack(signal: AbortSignal): Promise<boolean> {
    this.comeback.tried();
    return webrtcWorks(
      { stream: this.stream, token: this.token, format: this.wish.value.format, iceServers: this.iceServers, address: (path) => this.edges.at(path) },
      signal,
    );
  }

  /** The format that the person chose, where the stream has no such one. */
  private missing(): string {
    const { format } = this.wish.value;
    const formats = this.info.value?.formats ?? [];
    return format === "auto" || formats.length === 0 || formats.some(({ name }) => name === format) ? "" : format;
  }

  private pinned(): Transport | null {
    const { transport } = this.wish.value;
    return transport === "auto" ? null : transport;
  }

  private usable(): Set<Transport> {
    const formats = this.info.value?.formats ?? [];
    return new Set(
      (["webrtc", "hls"] as const).filter((transport) => canCarry(formats, transport, this.able)),
    );
  }

  private formatOnScreen(): string {
    const sample = this.sample.value;
    if (sample !== null && sample.format !== "") return sample.format;
    const wished = this.wish.value.format;
    if (wished !== "auto" || sample === null) return wished;
    return formatBySize(this.choices.value, sample.height) || wished;
  }
}

/** Holds the last picture while one session gives way to the next. */
export interface StillPicture {
  keep(): void;
  drop(): void;
}
