/** Playback by WebRTC: a WHEP session bound to a video element, and its figures. */

import { type Counters, jitterTarget, RateWindow, sinceIngest } from "../shared/delay.ts";
import { answersWith } from "../shared/sdp.ts";
import { pause } from "../shared/backoff.ts";
import { type Failure, failure, PlaybackError } from "./failure.ts";
import type { Playback, PlaybackOptions, Sample } from "./playback.ts";
import { WhepSession } from "./whep.ts";

export interface WebrtcOptions extends PlaybackOptions {
  iceServers: RTCIceServer[];
  onIceServers(servers: RTCIceServer[]): void;
}

/** Rejects with PlaybackError when no media path comes about. */
export async function openWebrtc(options: WebrtcOptions, signal: AbortSignal): Promise<Playback> {
  if (typeof RTCPeerConnection === "undefined") {
    throw new PlaybackError(failure("unsupported", "This browser has no WebRTC, or a setting turns it off."));
  }
  const media = new MediaStream();
  const session = new WhepSession({ ...options, onTrack: (track) => media.addTrack(track) });
  try {
    await session.open(signal);
  } finally {
    if (session.session !== null) options.onIceServers(session.session.iceServers);
  }
  options.video.srcObject = media;
  return new WebrtcPlayback(session, media, options);
}

/** Video that comes later than this after the connection does is not there: sound alone counts as playing. */
const videoMs = 1500;
/** Another edge that shows nothing within this time does not take over. */
const takeOverMs = 6000;
const lookMs = 50;

class WebrtcPlayback implements Playback {
  readonly transport = "webrtc";
  readonly moves = true;
  readonly soundOnly: boolean;
  readonly ended: Promise<Failure>;
  private end!: (reason: Failure) => void;
  private readonly window = new RateWindow();
  private bufferMs = 0;
  private freezes = 0;
  private readonly opened = performance.now();
  private calmSince = this.opened;
  private closed = false;
  /** What sessions have counted that this one took over from. */
  private past: Counters = {};

  constructor(
    private session: WhepSession,
    private media: MediaStream,
    private readonly options: WebrtcOptions,
  ) {
    this.ended = new Promise((resolve) => (this.end = resolve));
    this.soundOnly = !answersWith(session.session?.answer ?? "", "video");
    this.use(session);
  }

  private use(session: WhepSession): void {
    this.session = session;
    void session.ended.then((reason) => {
      if (session === this.session) this.end(reason);
    });
    this.ask(this.bufferMs);
  }

  select(format: string): Promise<boolean> {
    return this.session.select(format);
  }

  async move(base: string, format: string, signal: AbortSignal): Promise<boolean> {
    const { options } = this;
    const tracks: MediaStreamTrack[] = [];
    const next = new WhepSession({
      ...options,
      format,
      address: (path) => options.address(path, base),
      onTrack: (track) => tracks.push(track),
    });
    try {
      await next.open(signal);
      if (!(await this.shows(next, signal))) throw new Error("it shows nothing");
      const before = await this.session.peer.getStats();
      if (this.closed || signal.aborted) throw new Error("the page has let go");
      this.past = add(this.past, readReport(before).counters);
    } catch {
      next.close();
      return false;
    }
    const previous = this.session;
    this.use(next);
    // In one stroke: the element takes the new tracks up within the same stream, and is not emptied.
    const old = this.media.getTracks();
    for (const track of tracks) this.media.addTrack(track);
    for (const track of old) this.media.removeTrack(track);
    previous.close();
    return true;
  }

  /** Whether a session brings what this one has: the picture, or sound where there is no picture. */
  private async shows(session: WhepSession, signal: AbortSignal): Promise<boolean> {
    const { videoPackets } = readReport(await this.session.peer.getStats());
    for (let waited = 0; waited < takeOverMs && !signal.aborted; waited += lookMs) {
      const { counters } = readReport(await session.peer.getStats());
      const came = videoPackets > 0 ? counters.framesDecoded : counters.packetsReceived;
      if ((came ?? 0) > 0) return true;
      await pause(lookMs, signal);
    }
    return false;
  }

  toLive(): void {
    // WebRTC has no past: playing on is playing live.
  }

  renditions(): null {
    return null;
  }

  close(): void {
    this.closed = true;
    this.session.close();
    this.options.video.srcObject = null;
  }

  async sample(): Promise<Sample> {
    const { session } = this;
    const report = readReport(await session.peer.getStats());
    if (session !== this.session) return this.sample(); // another took over meanwhile
    const now = performance.now();
    report.counters = add(this.past, report.counters);
    this.smoothen(report.counters.freezes ?? 0, now);
    const rates = this.window.add(now, report.counters);
    const soundOnly = report.videoPackets === 0 && now - this.opened > videoMs;
    this.show(!soundOnly);
    return {
      progress: soundOnly ? (report.counters.packetsReceived ?? 0) : (report.counters.framesDecoded ?? 0),
      counters: report.counters,
      rates,
      delayMs: sinceIngest(this.options.now(), report.playout),
      width: report.width,
      height: report.height,
      format: "",
      videoCodec: report.videoCodec,
      audioCodec: report.audioCodec,
      extra: [["Path", report.path]],
    };
  }

  /**
   * An element that has begun to wait for a picture plays no sound meanwhile: it begins anew with the sound alone, and takes
   * a picture that comes later in its stride.
   */
  private show(picture: boolean): void {
    const { video } = this.options;
    const tracks = this.session.peer.getReceivers().map(({ track }) => track);
    if (!picture && video.readyState === 0 && this.media.getVideoTracks().length > 0) {
      const { paused } = video;
      this.media = new MediaStream(tracks.filter(({ kind }) => kind === "audio"));
      video.srcObject = this.media;
      if (!paused) void video.play().catch(() => undefined);
    } else if (picture) {
      for (const track of tracks) this.media.addTrack(track); // those that it lacks
    }
  }

  /** Least delay while the picture is smooth; a little more after it froze. */
  private smoothen(freezes: number, now: number): void {
    const target = jitterTarget(this.bufferMs, freezes - this.freezes, now - this.calmSince);
    if (freezes !== this.freezes || target !== this.bufferMs) this.calmSince = now;
    this.freezes = freezes;
    if (target !== this.bufferMs) this.ask(target);
  }

  /** Only video is told: audio sizes its own buffer well, and crackles when pressed. */
  private ask(milliseconds: number): void {
    this.bufferMs = milliseconds;
    for (const receiver of this.session.peer.getReceivers()) {
      if (receiver.track.kind !== "video") continue;
      // Seconds in the older name, milliseconds in the newer.
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = milliseconds;
      else if ("playoutDelayHint" in receiver)
        (receiver as { playoutDelayHint: number }).playoutDelayHint = milliseconds / 1000;
    }
  }
}

interface Report {
  counters: Counters;
  videoPackets: number;
  width: number;
  height: number;
  videoCodec: string;
  audioCodec: string;
  playout: number | undefined;
  path: string;
}

type Stat = Record<string, unknown> & { id: string; type: string };

/** Picks our figures out of a WebRTC statistics report. */
function readReport(stats: RTCStatsReport): Report {
  const all: Stat[] = [];
  stats.forEach((stat: Stat) => all.push(stat));
  const inbound = (kind: string) => all.find((stat) => stat.type === "inbound-rtp" && stat["kind"] === kind);
  const byId = (id: unknown) => all.find((stat) => stat.id === id);
  const number = (stat: Stat | undefined, key: string) =>
    typeof stat?.[key] === "number" ? (stat[key] as number) : undefined;
  const codec = (stat: Stat | undefined) =>
    String(byId(stat?.["codecId"])?.["mimeType"] ?? "").replace(/^\w+\//, "");
  const sum = (a?: number, b?: number) =>
    a === undefined && b === undefined ? undefined : (a ?? 0) + (b ?? 0);

  const video = inbound("video");
  const audio = inbound("audio");
  const pair =
    byId(all.find((stat) => stat.type === "transport")?.["selectedCandidatePairId"]) ??
    all.find((stat) => stat.type === "candidate-pair" && stat["nominated"] === true);
  const local = byId(pair?.["localCandidateId"]);
  const buffered = number(video, "framesDecoded") ? video : audio;

  return {
    counters: defined({
      bytes: sum(number(video, "bytesReceived"), number(audio, "bytesReceived")),
      framesDecoded: number(video, "framesDecoded"),
      framesDropped: number(video, "framesDropped"),
      packetsReceived: sum(number(video, "packetsReceived"), number(audio, "packetsReceived")),
      packetsLost: sum(number(video, "packetsLost"), number(audio, "packetsLost")),
      freezes: number(video, "freezeCount"),
      jitterBufferDelay: number(buffered, "jitterBufferDelay"),
      jitterBufferEmitted: number(buffered, "jitterBufferEmittedCount"),
      decodeTime: number(video, "totalDecodeTime"),
      roundTrip: number(pair, "currentRoundTripTime"),
      jitter: number(video ?? audio, "jitter"),
    }),
    videoPackets: number(video, "packetsReceived") ?? 0,
    width: number(video, "frameWidth") ?? 0,
    height: number(video, "frameHeight") ?? 0,
    videoCodec: codec(video),
    audioCodec: codec(audio),
    // Chromium tells it only of a picture that it plays in step with a sound: of a stream without sound, never.
    playout: number(video, "estimatedPlayoutTimestamp"),
    path:
      local === undefined
        ? "–"
        : `${local["candidateType"]} over ${local["relayProtocol"] ?? local["protocol"]}`,
  };
}

/** Adds up what two sessions have counted. What is no count is that of the second. */
function add(past: Counters, counters: Counters): Counters {
  const sum: Counters = { ...past, ...counters };
  for (const key of ["bytes", "framesDecoded", "framesDropped", "packetsReceived", "packetsLost", "freezes", "jitterBufferDelay", "jitterBufferEmitted", "decodeTime"] as const) {
    const value = (past[key] ?? 0) + (counters[key] ?? 0);
    if (sum[key] !== undefined) sum[key] = value;
  }
  return sum;
}

function defined(counters: { [K in keyof Counters]: number | undefined }): Counters {
  return Object.fromEntries(Object.entries(counters).filter(([, value]) => value !== undefined));
}
