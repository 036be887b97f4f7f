/** Words for formats and codecs, and which of them a transport can carry to this browser. */

import type { Format } from "./api.ts";

export type Transport = "webrtc" | "hls";

const codecNames: Record<string, string> = {
  h264: "H.264",
  h265: "H.265",
  vp8: "VP8",
  vp9: "VP9",
  av1: "AV1",
  opus: "Opus",
  aac: "AAC",
  pcmu: "G.711",
  pcma: "G.711",
  g711: "G.711",
};

/** "H.264", "Opus"; empty when unknown. */
export function codecName(codec = ""): string {
  return codecNames[codec.toLowerCase()] ?? codec.toUpperCase();
}

/** What RFC 6381 calls the codecs that the API has words for. */
const sampleEntries: Record<string, string> = {
  avc1: "h264",
  avc3: "h264",
  hvc1: "h265",
  hev1: "h265",
  av01: "av1",
  vp09: "vp9",
  mp4a: "aac",
};

/** The API's word for a codec of a playlist or an SDP: `avc1.640028`, `H264`, `opus`. Empty when unknown. */
export function codecOf(text = ""): string {
  const word = text.replace(/\..*/, "").toLowerCase();
  return sampleEntries[word] ?? word;
}

/** "1280 × 720"; empty when unknown. */
export function sizeLabel(width?: number, height?: number): string {
  return width && height ? `${width} × ${height}` : "";
}

/** "2.5 Mb/s", "640 kb/s"; empty when unknown. */
export function bitrateLabel(bitsPerSecond?: number): string {
  if (bitsPerSecond === undefined || !Number.isFinite(bitsPerSecond) || bitsPerSecond <= 0) return "";
  if (bitsPerSecond < 999_500) return `${Math.round(bitsPerSecond / 1000)} kb/s`;
  const mega = bitsPerSecond / 1e6;
  return `${mega < 10 ? mega.toFixed(1) : Math.round(mega)} Mb/s`;
}

/** A format's name for a menu: "Source", "720p", "Layer h". */
export function formatLabel(name: string): string {
  switch (name) {
    case "":
    case "auto":
      return "Auto";
    case "source":
      return "Source";
    case "h":
      return "High layer";
    case "m":
      return "Middle layer";
    case "l":
      return "Low layer";
    default:
      return name;
  }
}

/** The line under a format's name: "1280 × 720 · 30 fps · 2.5 Mb/s · H.264". */
export function formatDetail(format: Format): string {
  const parts =
    format.kind === "video"
      ? [sizeLabel(format.width, format.height), format.fps ? `${Math.round(format.fps)} fps` : ""]
      : [format.channels === 1 ? "mono" : format.channels === 2 ? "stereo" : ""];
  return [...parts, bitrateLabel(format.bitrate), codecName(format.codec)]
    .filter((part) => part !== "")
    .join(" · ");
}

/** What this browser can decode, by transport. Codec names are the API's. */
export interface Abilities {
  webrtc: ReadonlySet<string>;
  hls: ReadonlySet<string>;
}

/** Whether a transport brings a format to this browser. One of which nothing has come yet it brings to nobody. */
export function plays(format: Format, transport: Transport, able: Abilities): boolean {
  return format.codec !== undefined && format[transport] && able[transport].has(format.codec.toLowerCase());
}

/** The video formats that a transport can bring to this browser, largest first. */
export function videoFormats(formats: readonly Format[], transport: Transport, able: Abilities): Format[] {
  return formats
    .filter((format) => format.kind === "video" && plays(format, transport, able))
    .sort((a, b) => (b.height ?? 0) - (a.height ?? 0) || (b.bitrate ?? 0) - (a.bitrate ?? 0));
}

/**
 * Whether a transport can play the stream here: its picture if it has one, else
 * its sound. Where neither is known yet, it is worth a try.
 */
export function canCarry(formats: readonly Format[], transport: Transport, able: Abilities): boolean {
  if (able[transport].size === 0) return false;
  const pictures = formats.filter(({ kind }) => kind === "video");
  const deciding = pictures.length > 0 ? pictures : formats;
  return deciding.length === 0 || deciding.some((format) => format.codec === undefined || plays(format, transport, able));
}

/** Asks the browser which codecs it decodes over each transport. */
export function browserAbilities(): Abilities {
  return { webrtc: webrtcCodecs(), hls: hlsCodecs() };
}

function webrtcCodecs(): Set<string> {
  const codecs = new Set<string>();
  if (typeof RTCPeerConnection === "undefined" || typeof RTCRtpReceiver === "undefined") return codecs;
  for (const kind of ["video", "audio"]) {
    for (const { mimeType } of RTCRtpReceiver.getCapabilities?.(kind)?.codecs ?? []) {
      codecs.add(mimeType.slice(mimeType.indexOf("/") + 1).toLowerCase());
    }
  }
  return codecs;
}

// One representative of each codec, in the profile cameras and encoders use most.
const fragmentTypes: Record<string, string> = {
  h264: 'video/mp4; codecs="avc1.640028"',
  h265: 'video/mp4; codecs="hvc1.1.6.L120.90"',
  av1: 'video/mp4; codecs="av01.0.08M.08"',
  vp9: 'video/mp4; codecs="vp09.00.40.08"',
  aac: 'audio/mp4; codecs="mp4a.40.2"',
  opus: 'audio/mp4; codecs="opus"',
};

function hlsCodecs(): Set<string> {
  const source =
    (globalThis as { ManagedMediaSource?: typeof MediaSource }).ManagedMediaSource ?? globalThis.MediaSource;
  const supported = (type: string) =>
    source === undefined
      ? nativeHls() && document.createElement("video").canPlayType(type) !== ""
      : source.isTypeSupported(type);
  return new Set(Object.keys(fragmentTypes).filter((codec) => supported(fragmentTypes[codec]!)));
}

/** Whether a video element plays HLS by itself (Safari). */
export function nativeHls(): boolean {
  return (
    typeof document !== "undefined" &&
    document.createElement("video").canPlayType("application/vnd.apple.mpegurl") !== ""
  );
}
