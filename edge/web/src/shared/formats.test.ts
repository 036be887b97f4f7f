import { describe, expect, it } from "vitest";
import type { Format } from "./api.ts";
import { bitrateLabel, canCarry, codecName, codecOf, formatDetail, formatLabel, videoFormats } from "./formats.ts";

const video = (name: string, height: number, more: Partial<Format> = {}): Format => ({
  name,
  kind: "video",
  codec: "h264",
  width: Math.round((height * 16) / 9),
  height,
  fps: 30,
  bitrate: 2_500_000,
  running: true,
  webrtc: true,
  hls: true,
  ...more,
});
const opus: Format = {
  name: "opus",
  kind: "audio",
  codec: "opus",
  channels: 2,
  running: true,
  webrtc: true,
  hls: false,
};
const able = { webrtc: new Set(["h264", "opus"]), hls: new Set(["h264", "aac"]) };

describe("labels", () => {
  it.each([
    [undefined, ""],
    [0, ""],
    [NaN, ""],
    [640_000, "640 kb/s"],
    [999_400, "999 kb/s"],
    [999_600, "1.0 Mb/s"],
    [2_500_000, "2.5 Mb/s"],
    [25_000_000, "25 Mb/s"],
  ])("bit rate %s is %j", (bits, label) => expect(bitrateLabel(bits)).toBe(label));

  it.each([
    ["auto", "Auto"],
    ["", "Auto"],
    ["source", "Source"],
    ["720p", "720p"],
    ["h", "High layer"],
  ])("format %j is %j", (name, label) => {
    expect(formatLabel(name)).toBe(label);
  });

  it("describes a format in one line", () => {
    expect(formatDetail(video("720p", 720))).toBe("1280 × 720 · 30 fps · 2.5 Mb/s · H.264");
    expect(formatDetail(opus)).toBe("stereo · Opus");
    expect(formatDetail({ ...video("x", 0), fps: 0, bitrate: 0, codec: "weird" })).toBe("WEIRD");
  });

  it.each([
    ["avc1.640028", "H.264"],
    ["hvc1.1.6.L120.90", "H.265"],
    ["mp4a.40.2", "AAC"],
    ["H264", "H.264"],
    ["opus", "Opus"],
    ["", ""],
  ])("knows codec %j of a playlist or SDP", (text, name) => expect(codecName(codecOf(text))).toBe(name));

  it("knows codecs in any case", () =>
    expect([codecName("H265"), codecName("av1")]).toEqual(["H.265", "AV1"]));
});

describe("what a transport can carry", () => {
  it("lists video this browser decodes, largest first", () => {
    const formats = [opus, video("360p", 360), video("source", 1080, { webrtc: false }), video("720p", 720)];
    expect(videoFormats(formats, "webrtc", able).map(({ name }) => name)).toEqual(["720p", "360p"]);
    expect(videoFormats(formats, "hls", able).map(({ name }) => name)).toEqual(["source", "720p", "360p"]);
  });

  it("sees that a source of H.265 alone needs another way", () => {
    const formats = [video("source", 1080, { codec: "h265" }), opus]; // its sound alone would not do
    expect(canCarry(formats, "webrtc", able)).toBe(false);
    expect(canCarry(formats, "hls", { ...able, hls: new Set(["h265"]) })).toBe(true);
  });

  it("takes the sound of a stream that has nothing else", () => {
    expect(canCarry([opus], "webrtc", able)).toBe(true);
    expect(canCarry([opus], "hls", able)).toBe(false);
  });

  it("tries what it knows nothing about, unless the browser lacks the transport", () => {
    expect(canCarry([], "webrtc", able)).toBe(true);
    expect(canCarry([], "webrtc", { ...able, webrtc: new Set() })).toBe(false);
  });
});
