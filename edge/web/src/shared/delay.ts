/**
 * Figures from raw counters: rates over the last second, and the live delay.
 *
 * The live delay is the whole way from ingest to the screen: the server's clock
 * (clock.ts) minus the media time of what is shown. By WebRTC that comes with
 * RTCP sender reports, by HLS it is the PROGRAM-DATE-TIME under the playhead.
 *
 * The last part of the way, from the server that plays, is estimated besides
 * from what this end can measure by itself: half the round trip, plus the time
 * frames sit in the jitter buffer, plus decoding. A transcoder is before that.
 */

/** What a transport counts since its session began. Absent means the browser does not say. */
export interface Counters {
  /** Of the video and audio together. */
  bytes?: number;
  framesDecoded?: number;
  framesDropped?: number;
  packetsReceived?: number;
  packetsLost?: number;
  freezes?: number;
  /** Seconds that all emitted frames together sat in the jitter buffer, and how many they were. */
  jitterBufferDelay?: number;
  jitterBufferEmitted?: number;
  /** Seconds that decoding took, all frames together. */
  decodeTime?: number;
  /** Seconds, of the selected candidate pair. */
  roundTrip?: number;
  /** RTP jitter of the video, in seconds. */
  jitter?: number;
}

export interface Rates {
  /** Bits per second; null until a second has been seen. */
  bitrate: number | null;
  fps: number | null;
  /** Share of packets lost in the window, 0 to 1. */
  loss: number | null;
  jitterBufferMs: number | null;
  decodeMs: number | null;
  roundTripMs: number | null;
  /** Estimated delay from the server that plays to the screen. */
  fromServerMs: number | null;
}

const windowMs = 1000;

/** Derives rates from counters that are fed in every 250 ms or so. */
export class RateWindow {
  private samples: { at: number; counters: Counters }[] = [];

  add(now: number, counters: Counters): Rates {
    this.samples.push({ at: now, counters });
    // Keep one sample at or past the window's far end, to measure against.
    while (this.samples.length > 2 && now - this.samples[1]!.at >= windowMs) this.samples.shift();
    const oldest = this.samples[0]!;
    return ratesBetween(oldest.counters, counters, (now - oldest.at) / 1000);
  }
}

export function ratesBetween(before: Counters, after: Counters, seconds: number): Rates {
  const grown = (key: keyof Counters): number | null => {
    const from = before[key];
    const to = after[key];
    return from === undefined || to === undefined || to < from ? null : to - from;
  };
  const per = (total: number | null, count: number | null) =>
    total === null || !count ? null : total / count;
  const perSecond = (total: number | null) => (total === null || seconds < 0.2 ? null : total / seconds);

  const bytes = perSecond(grown("bytes"));
  const lost = grown("packetsLost");
  const received = grown("packetsReceived");
  const buffered = per(grown("jitterBufferDelay"), grown("jitterBufferEmitted"));
  const decoding = per(grown("decodeTime"), grown("framesDecoded"));
  const rates = {
    bitrate: bytes === null ? null : bytes * 8,
    fps: perSecond(grown("framesDecoded")),
    loss: lost === null || received === null || lost + received === 0 ? null : lost / (lost + received),
    jitterBufferMs: milli(buffered),
    decodeMs: milli(decoding),
    roundTripMs: milli(after.roundTrip ?? null),
  };
  return { ...rates, fromServerMs: webrtcDelay(rates.roundTripMs, rates.jitterBufferMs, rates.decodeMs) };
}

/** Milliseconds from the server to the screen; null while the jitter buffer is unmeasured. */
export function webrtcDelay(
  roundTripMs: number | null,
  jitterBufferMs: number | null,
  decodeMs: number | null,
): number | null {
  if (!jitterBufferMs) return null; // nothing came out of it
  return Math.round((roundTripMs ?? 0) / 2 + jitterBufferMs + (decodeMs ?? 0));
}

/**
 * An estimated part of a way whose whole length was measured. What the estimate is added up from overlaps
 * and is told by other clocks, so that it may come out longer than the whole; the part is never more than that.
 */
export function withinWhole(partMs: number | null, wholeMs: number | null): number | null {
  return partMs === null || wholeMs === null ? partMs : Math.min(partMs, wholeMs);
}

/**
 * Milliseconds that the HLS playhead is behind the server's clock, `now`. Null while the playhead's program date-time is
 * unknown, or where the clocks are so wrong that the picture would come from the future. The distance to the playlist's
 * edge, which players tell, is no stand-in: it lacks what the media took to get into the playlist, and is near nothing
 * just after a start.
 */
export function hlsDelay(now: number, playingDate: Date | null): number | null {
  const behind = playingDate === null ? 0 : now - playingDate.getTime();
  return behind > 0 ? Math.round(behind) : null;
}

/** Milliseconds between the NTP (1900) and Unix (1970) epochs. */
const ntpOffsetMs = 2_208_988_800_000;

/**
 * Milliseconds since ingest, from the media time at the playout point
 * (estimatedPlayoutTimestamp, which browsers give since 1900) and the server's
 * clock, `now`. Null where the browser does not tell, as in the first seconds of
 * a session, or the clocks disagree so much that the figure means nothing.
 */
export function sinceIngest(now: number, playoutTimestamp: number | undefined): number | null {
  if (playoutTimestamp === undefined || playoutTimestamp === 0) return null;
  const played = playoutTimestamp > ntpOffsetMs ? playoutTimestamp - ntpOffsetMs : playoutTimestamp;
  const behind = now - played;
  return behind >= 0 && behind < 60_000 ? Math.round(behind) : null;
}

/**
 * The video jitter buffer to ask for, in milliseconds. Zero is the least
 * delay; each freeze buys a step of smoothness, each calm minute gives one back.
 */
export function jitterTarget(current: number, newFreezes: number, calmMs: number): number {
  const step = 60;
  const most = 300;
  if (newFreezes > 0) return Math.min(most, current + step);
  return calmMs >= 60_000 ? Math.max(0, current - step) : current;
}

/** "180 ms", "0.9 s", "12 s". */
export function delayLabel(ms: number | null): string {
  if (ms === null) return "–";
  if (ms < 500) return `${Math.max(10, Math.round(ms / 10) * 10)} ms`;
  return ms < 9950 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;
}

function milli(seconds: number | null): number | null {
  return seconds === null ? null : seconds * 1000;
}
