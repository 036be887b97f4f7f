/**
 * Playback by low-latency HLS: hls.js where the browser has Media Source
 * Extensions, the video element itself where it plays HLS natively. hls.js is
 * large and loaded only when this module is asked to play.
 */

import type Hls from "hls.js";
import type { ErrorData, FragBufferedData, HlsConfig, LevelDetails } from "hls.js";
import type { Format } from "../shared/api.ts";
import { nativeHls } from "../shared/formats.ts";
import { pause } from "../shared/backoff.ts";
import { parseProblem, retryAfter } from "../shared/problem.ts";
import { authorization } from "../shared/token.ts";
import { type Counters, hlsDelay, RateWindow, delayLabel } from "../shared/delay.ts";
import { type Failure, failure, failureOf, PlaybackError } from "./failure.ts";
import { formatOfLevel, levelFor, standIn } from "./levels.ts";
import { Follower } from "./follow.ts";
import { beyondHole, type Range } from "./holes.ts";
import { addressOf, measuringLoader, patientLoader } from "./loaders.ts";
import { NativePlayback } from "./native.ts";
import { Chooser, Throughput } from "./auto.ts";
import type { Playback, PlaybackOptions, Sample } from "./playback.ts";
import { carried, type Renditions } from "./renewal.ts";
import { listsThere, rebased, Route } from "./route.ts";
import { pieceOf, Timetable } from "./timetable.ts";

export interface HlsOptions extends PlaybackOptions {
  /** The stream's video formats as the API lists them now. */
  formats: () => readonly Format[];
  /** The base of the edge to go on from, as the one in use does not answer; null where there is none. */
  nextEdge: () => string | null;
  /** Whether the edge in use is dead, where it is silent for longer than usual; to answer takes it so many milliseconds. */
  edgeIsDead: (withinMs: number) => Promise<boolean>;
}

/** Rejects with PlaybackError when the playlist cannot be had or holds nothing playable. */
export async function openHls(options: HlsOptions, signal: AbortSignal): Promise<Playback> {
  const { default: Library } = await import("hls.js").catch(() => {
    throw new PlaybackError(
      failure("unreachable", "The HLS player could not be loaded. Check the connection."),
    );
  });
  signal.throwIfAborted();
  if (Library.isSupported()) {
    const playback = new HlsPlayback(Library, options);
    await playback.open(signal);
    return playback;
  }
  if (!nativeHls()) throw new PlaybackError(failure("unsupported", "This browser cannot play HLS."));
  if (options.token !== "") {
    throw new PlaybackError(
      failure(
        "unsupported",
        "This browser plays HLS by itself and cannot send the token with it. Use WebRTC, or another browser.",
      ),
    );
  }
  return new NativePlayback(options.video, options.now, options.address(`${rootOf(options.stream)}index.m3u8`));
}

/** How often the playhead's place is looked at. */
const followMs = 100;

/** How long a playlist is waited for before the player moves. */
const listMs = 3000;

/** With less than this in the buffer, in seconds, playback is about to halt. */
const shortOf = 0.25;

/** Everything of a stream's HLS is below this path. */
function rootOf(stream: string): string {
  return `/hls/${stream}/`;
}

function configuration(library: typeof Hls, token: string, route: Route): Partial<HlsConfig> {
  const headers = Object.entries(authorization(token));
  return {
    // Our loaders find the next edge, without the new start that a pathway is to hls.js.
    contentSteeringController: undefined,
    lowLatencyMode: true,
    // The distance to the edge is PART-HOLD-BACK of the playlist, as long as
    // liveSyncDuration is left unset. Our Follower keeps it, not hls.js.
    maxLiveSyncPlaybackRate: 1,
    liveSyncOnStallIncrease: 0,
    // Else hls.js lengthens the media source with each playlist. Chromium takes its buffers for busy meanwhile, and refuses
    // sound that hls.js 1.7.4 has held back for the picture and appends just then.
    liveDurationInfinity: true,
    // The browser itself drops what was played when it needs the room. Where hls.js 1.7.4 does so in the
    // middle of a segment, it forgets which of the segment's parts it has, and then may not find the next one.
    backBufferLength: Infinity,
    // fMP4 needs no remuxing, so a worker would only add a copy.
    enableWorker: false,
    // Begin at the quality of an ordinary line, not with a test download.
    abrEwmaDefaultEstimate: 4_000_000,
    testBandwidth: false,
    startFragPrefetch: true,
    autoStartLoad: false,
    // The player retries the first playlist itself: it knows why it failed.
    manifestLoadPolicy: {
      default: { maxTimeToFirstByteMs: 8000, maxLoadTimeMs: 10_000, timeoutRetry: null, errorRetry: null },
    },
    pLoader: patientLoader(library, route),
    // hls.js waits that long at every gap, too: the pause that a publisher made would last a second more.
    fragLoadPolicy: {
      default: {
        maxTimeToFirstByteMs: 10_000,
        maxLoadTimeMs: 60_000,
        timeoutRetry: { maxNumRetry: 4, retryDelayMs: 0, maxRetryDelayMs: 0 },
        errorRetry: { maxNumRetry: 8, retryDelayMs: 100, maxRetryDelayMs: 8000, backoff: "exponential" },
      },
    },
    xhrSetup: (request, url, context) => {
      request.open("GET", addressOf(url, context, route), true);
      for (const [name, value] of headers) request.setRequestHeader(name, value);
    },
    fetchSetup: (context, init: RequestInit) =>
      new Request(addressOf(context.url, context, route), { ...init, headers: [...new Headers(init.headers), ...headers] }),
  };
}

function lineLabel(bps: number | null): string {
  return bps === null ? "–" : `${(bps / 1e6).toFixed(1)} Mb/s`;
}

/** Seconds that can be played from the playhead on. */
function bufferedAhead({ buffered, currentTime }: HTMLVideoElement): number {
  const rounding = 0.05;
  for (let i = 0; i < buffered.length; i++) {
    if (buffered.start(i) <= currentTime + rounding && currentTime < buffered.end(i)) {
      return buffered.end(i) - currentTime;
    }
  }
  return 0;
}

function rangesOf(buffered: TimeRanges): Range[] {
  return Array.from({ length: buffered.length }, (_, i) => [buffered.start(i), buffered.end(i)]);
}

/** Seconds back from the newest media to the nearest gap, or to the oldest that is listed. */
function unbroken({ edge, fragments, fragmentHint, partList }: LevelDetails): number {
  const broken = (partList ?? []).findLast(({ gap }) => gap);
  const segments = fragmentHint === undefined ? fragments : [...fragments, fragmentHint];
  const gap = segments.findLast(({ gap }) => gap);
  return edge - Math.max(segments[0]?.start ?? edge, broken?.end ?? -Infinity, gap?.end ?? -Infinity);
}

/** Whether what was buffered is a whole segment of the picture, or the last part of one. */
function endsSegment({ latestLevelDetails }: Hls, { frag, part }: FragBufferedData): boolean {
  if (frag.type !== "main") return false;
  if (part === null) return true;
  const whole = latestLevelDetails?.fragments.some(({ sn }) => sn === frag.sn) ?? true;
  const later = latestLevelDetails?.partList?.some(
    ({ fragment, index }) => fragment.sn === frag.sn && index > part.index,
  );
  return whole && later !== true;
}

class HlsPlayback implements Playback {
  readonly transport = "hls";
  readonly moves = true;
  readonly soundOnly = false; // a playlist makes no such promise
  readonly ended: Promise<Failure>;
  private end!: (reason: Failure) => void;
  private readonly hls: Hls;
  private readonly root: string;
  private readonly window = new RateWindow();
  private readonly route: Route;
  private bytes = 0;
  private freezes = 0;
  private recovered = false;
  /** The level that is loaded; -1 until there is a picture, while hls.js chooses. */
  private level = -1;
  /** The level to load from the next segment on; null for the one that is loaded. */
  private wanted: number | null = null;
  /** The format that was asked for, or "auto". */
  private wish: string;
  private readonly throughput = new Throughput();
  private readonly timetable = new Timetable();
  private readonly chooser = new Chooser();
  private readonly follower = new Follower(performance.now());
  private readonly following = setInterval(() => this.follow(), followMs);

  constructor(
    private readonly library: typeof Hls,
    private readonly options: HlsOptions,
  ) {
    this.ended = new Promise((resolve) => (this.end = resolve));
    this.root = rootOf(options.stream);
    this.wish = options.format;
    this.route = new Route(options.address(this.root), {
      next: () => {
        const base = options.nextEdge();
        return base === null ? null : options.address(this.root, base);
      },
      isDead: options.edgeIsDead,
    });
    this.hls = new library({
      ...configuration(library, options.token, this.route),
      fLoader: measuringLoader(library, this.throughput, this.route),
    });
    const { Events } = library;
    this.hls.on(Events.ERROR, (_, data) => this.onError(data));
    this.hls.on(
      Events.FRAG_LOADED,
      (_, data) => void (this.bytes += data.part === null ? data.frag.stats.loaded : 0),
    );
    this.hls.on(Events.FRAG_BUFFERED, (_, data) => {
      this.bytes += data.part === null ? 0 : data.stats.loaded;
      // A gap is a gap in every level: hls.js would shun those that it met one in for good.
      for (const level of this.hls.levels) level.fragmentError = 0;
      const piece = data.frag.type === "main" ? pieceOf(data) : null;
      if (piece !== null) this.timetable.add(piece);
      if (data.frag.type === "main" && this.level < 0) this.switchTo(data.frag.level);
      if (this.wanted !== null && endsSegment(this.hls, data)) {
        // In the middle of a segment the new level would be loaded from the segment's beginning, and
        // the picture freeze for as long as it takes to decode up to the playhead again.
        this.switchTo(this.wanted);
      }
    });
  }

  /** Resolves when the multivariant playlist is read and loading has begun. */
  open(signal: AbortSignal): Promise<void> {
    const { Events } = this.library;
    return new Promise<void>((resolve, reject) => {
      const leave = () => reject(signal.reason);
      signal.addEventListener("abort", leave, { once: true });
      void this.ended.then((reason) => reject(new PlaybackError(reason)));
      this.hls.once(Events.MANIFEST_PARSED, () => {
        this.startAt(this.options.format);
        this.hls.startLoad(-1);
        signal.removeEventListener("abort", leave);
        resolve();
      });
      this.hls.loadSource(this.options.address(`${this.root}index.m3u8`));
      this.hls.attachMedia(this.options.video);
    }).catch((error: unknown) => {
      this.close();
      throw error;
    });
  }

  select(format: string): Promise<boolean> {
    const level = this.indexOf(format);
    if (format !== "auto" && level < 0) return Promise.resolve(false);
    this.wish = format;
    this.wanted = format === "auto" ? null : level;
    return Promise.resolve(true);
  }

  async move(base: string, _: string, signal: AbortSignal): Promise<boolean> {
    const { hls, route } = this;
    const to = this.options.address(this.root, base);
    for (let waited = 0; hls.latestLevelDetails === null && waited < listMs && !signal.aborted; waited += followMs)
      await pause(followMs, signal);
    const details = hls.latestLevelDetails;
    // What plays from elsewhere already, as hls.js turned there by itself, needs no help.
    if (details === null || !route.covers(details.url)) return details !== null;
    const { lastPartSn, lastPartIndex, endSN, partList } = details;
    const newest = partList === null ? `_HLS_msn=${endSN}` : `_HLS_msn=${lastPartSn}&_HLS_part=${lastPartIndex}`;
    const lists = [details.url, hls.audioTracks[hls.audioTrack]?.url].filter((url) => url !== undefined);
    const headers = authorization(this.options.token);
    const there = await Promise.all(
      lists.map((url) => listsThere(`${rebased(url, to).split("?")[0]}?${newest}&via=1`, headers, signal)),
    );
    if (signal.aborted || !there.every(Boolean)) return false;
    route.lead(to);
    return true;
  }

  toLive(): void {
    const edge = this.hls.liveSyncPosition;
    if (edge !== null && edge - this.options.video.currentTime > 0.5) this.options.video.currentTime = edge;
  }

  close(): void {
    clearInterval(this.following);
    this.hls.destroy();
    this.options.video.removeAttribute("src");
  }

  sample(): Promise<Sample> {
    const { video } = this.options;
    const { hls } = this;
    const quality = video.getVideoPlaybackQuality();
    const counters: Counters = {
      bytes: this.bytes,
      framesDecoded: quality.totalVideoFrames,
      framesDropped: quality.droppedVideoFrames,
      freezes: this.freezes,
    };
    const level = hls.levels[hls.currentLevel];
    const [videoCodec = "", audioCodec = ""] = [level?.videoCodec, level?.audioCodec];
    const rates = this.window.add(performance.now(), counters);
    return Promise.resolve({
      // Audio alone moves the playhead but decodes no frame.
      progress: video.videoWidth > 0 ? quality.totalVideoFrames : video.currentTime,
      counters,
      rates,
      delayMs: hlsDelay(this.options.now(), this.timetable.dateAt(video.currentTime)),
      width: video.videoWidth,
      height: video.videoHeight,
      format: level === undefined ? "" : formatOfLevel(level, this.root),
      videoCodec,
      audioCodec,
      extra: [
        ["Behind the edge", delayLabel(hls.latency > 0 ? hls.latency * 1000 : null)],
        ["Target", delayLabel(hls.targetLatency === null ? null : hls.targetLatency * 1000)],
        ["Playback speed", `${video.playbackRate.toFixed(2)} ×`],
        ["Line estimate", lineLabel(this.throughput.bps(performance.now()))],
      ],
    });
  }

  renditions(): Renditions {
    return carried(this.hls.levels, this.root, this.hls.audioTracks.length > 0);
  }

  private follow(): void {
    const { hls } = this;
    const { video } = this.options;
    const details = hls.latestLevelDetails;
    if (details === null || hls.targetLatency === null || video.paused || video.seeking || video.readyState === 0)
      return;
    const now = performance.now();
    this.choose(now);
    const beyond = beyondHole(rangesOf(video.buffered), video.currentTime);
    if (beyond !== undefined) {
      video.currentTime = beyond;
      this.follower.moved(now);
      return;
    }
    const { edge, age } = details;
    const move = this.follower.follow(now, {
      latency: edge + age - video.currentTime,
      target: hls.targetLatency,
      ahead: bufferedAhead(video),
      age,
      unbroken: unbroken(details),
      standing: video.readyState < video.HAVE_FUTURE_DATA && video.played.length > 0,
    });
    if (video.playbackRate !== move.rate) video.playbackRate = move.rate;
    if (move.jumpTo !== undefined) video.currentTime = edge + age - move.jumpTo;
    if (move.resume === true) video.currentTime = video.currentTime;
  }

  /** Looks whether the line carries another format better. */
  private choose(now: number): void {
    const { hls } = this;
    if (this.level < 0) return;
    // hls.js takes the choice back, and another level, after an error such as a gap.
    if (hls.autoLevelEnabled) hls.loadLevel = this.level;
    const level = this.wish === "auto" ? this.best(now) : this.indexOf(this.wish);
    this.wanted = level === this.level || level < 0 ? null : level;
    // Where playback is about to halt there is nothing to spare by waiting for the segment's end, if the new level is a
    // smaller one: what there is of the segment is loaded again.
    const smaller = this.wanted !== null && this.wanted < this.level;
    if (this.wanted !== null && smaller && bufferedAhead(this.options.video) < shortOf) this.switchTo(this.wanted);
  }

  /** The level that the line carries best. */
  private best(now: number): number {
    const { levels } = this.hls;
    const available = this.available();
    const current = standIn(levels, available, this.wanted ?? this.level);
    const rungs = available.map((index) => ({
      peak: levels[index]?.maxBitrate ?? 0,
      mean: levels[index]?.averageBitrate ?? 0,
    }));
    const rung = this.chooser.choose(now, rungs, available.indexOf(current), this.throughput.bps(now));
    return available[rung] ?? current;
  }

  /**
   * The levels that the server still offers. A source whose keyframes stand where segments begin is one of them; its
   * publisher may return with others, and then it has holes, which the rung of its size has not.
   */
  private available(): number[] {
    const formats = this.options.formats();
    return this.hls.levels.flatMap((level, index) => {
      const name = formatOfLevel(level, this.root);
      const format = formats.find((format) => format.kind === "video" && format.name === name);
      return format?.hls === false ? [] : [index];
    });
  }

  private switchTo(level: number): void {
    this.hls.loadLevel = level;
    this.level = level;
    this.wanted = null;
  }

  private startAt(format: string): void {
    const level = this.indexOf(format);
    if (level < 0) this.wish = "auto"; // what is not on HLS cannot be pinned
    if (level < 0) return;
    this.hls.startLevel = level;
    this.hls.loadLevel = level;
  }

  private indexOf(format: string): number {
    if (format === "auto") return -1;
    const { levels } = this.hls;
    const height = this.options.formats().find(({ name }) => name === format)?.height;
    const level = levelFor(levels, this.root, format, height);
    return level < 0 ? level : standIn(levels, this.available(), level);
  }

  private onError(data: ErrorData): void {
    const { ErrorDetails, ErrorTypes } = this.library;
    if (data.details === ErrorDetails.BUFFER_STALLED_ERROR) {
      this.freezes++;
      this.follower.stalled();
    }
    if (!data.fatal) return;
    if (data.type === ErrorTypes.MEDIA_ERROR && !this.recovered) {
      this.recovered = true; // once: a second time the stream itself is at fault
      this.hls.recoverMediaError();
      return;
    }
    this.end(this.failureOf(data));
  }

  private failureOf(data: ErrorData): Failure {
    const { ErrorDetails, ErrorTypes } = this.library;
    switch (data.details) {
      case ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR:
      case ErrorDetails.BUFFER_ADD_CODEC_ERROR:
      case ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR:
        return failure("unsupported", "This browser cannot decode any format of this stream.");
    }
    if (data.type === ErrorTypes.MEDIA_ERROR)
      return failure("unsupported", "This browser failed to decode the stream.");
    const status = data.response?.code ?? 0;
    if (data.type === ErrorTypes.NETWORK_ERROR && (status >= 400 || status === 0)) {
      const request: unknown = data.networkDetails;
      if (typeof XMLHttpRequest !== "undefined" && request instanceof XMLHttpRequest && status !== 0) {
        return failureOf(
          parseProblem(
            status,
            request.responseType === "" || request.responseType === "text" ? request.responseText : "",
            request.getResponseHeader("content-type") ?? "",
            retryAfter(request.getResponseHeader("retry-after"), Date.now()),
          ),
        );
      }
      return failureOf(parseProblem(status, "", ""));
    }
    return failure("stalled", "The HLS player stopped.");
  }
}
