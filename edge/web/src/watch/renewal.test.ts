import { describe, expect, it } from "vitest";
import type { Format } from "../shared/api.ts";
import { carried, offered, Renewal } from "./renewal.ts";

const root = "/hls/cup/cam1/";
const able = { webrtc: new Set<string>(), hls: new Set(["h264", "vp9", "aac"]) };
const format = (name: string, kind: Format["kind"], codec: string, hls = true): Format => ({
  name,
  kind,
  codec,
  hls,
  running: true,
  webrtc: true,
});
const level = (name: string, videoCodec = "avc1.42c01f", audioCodec?: string) => ({
  url: [`https://e.test${root}${name}-video/index.m3u8`],
  height: 360,
  videoCodec,
  audioCodec,
});

describe("renditions", () => {
  it("are told alike by the API and by the playlist", () => {
    const formats = [
      format("source", "video", "h264", false),
      format("360p", "video", "h264"),
      format("360p-vp9", "video", "VP9"),
      format("360p-h265", "video", "h265"), // not for this browser
      format("source", "audio", "aac"),
    ];
    const levels = [level("360p"), level("360p-vp9", "vp09.00.41.08")];
    expect(offered(formats, able)).toEqual(new Set(["360p h264", "360p-vp9 vp9", "sound"]));
    expect(carried(levels, root, true)).toEqual(offered(formats, able));
    expect(carried(levels, root, false)).toEqual(offered(formats.slice(0, 4), able));
    expect(carried([{ url: [`${root}aac-audio/index.m3u8`], height: 0, audioCodec: "mp4a.40.2" }], root, false)).toEqual(
      new Set(["sound"]),
    );
  });
});

describe("Renewal", () => {
  const small = new Set(["360p h264"]);
  const large = new Set(["480p h264", "360p h264"]);
  const heard = new Set(["360p h264", "sound"]);

  it.each([
    ["a larger picture", small, large],
    ["sound", small, heard],
    ["another codec", new Set(["source h264"]), new Set(["source vp9"])],
  ])("is due soon for %s, and once", (_, had, has) => {
    const renewal = new Renewal();
    expect(renewal.due(0, had, had)).toBe(false);
    expect(renewal.due(1000, had, has)).toBe(false);
    expect(renewal.due(2600, had, has)).toBe(true);
    expect(renewal.due(60_000, had, has)).toBe(false);
  });

  it("lets what is gone come back", () => {
    const renewal = new Renewal();
    expect(renewal.due(0, heard, small)).toBe(false);
    expect(renewal.due(5000, heard, small)).toBe(false);
    expect(renewal.due(6000, heard, heard)).toBe(false);
    expect(renewal.due(9000, heard, small)).toBe(false);
    expect(renewal.due(17_100, heard, small)).toBe(true);
  });

  it("does not begin anew because the source leaves, or comes, while its rungs stay", () => {
    const rungs = new Set(["360p h264", "sound"]);
    const withSource = new Set(["source h264", ...rungs]);
    const renewal = new Renewal();
    for (const now of [0, 20_000]) expect(renewal.due(now, withSource, rungs)).toBe(false);
    for (const now of [40_000, 60_000]) expect(renewal.due(now, rungs, withSource)).toBe(false);
    // One that has no rung beside it is all that there was.
    expect(renewal.due(61_000, new Set(["source h264", "sound"]), new Set(["sound"]))).toBe(false);
    expect(renewal.due(70_000, new Set(["source h264", "sound"]), new Set(["sound"]))).toBe(true);
  });

  it("asks nothing of a stream that has nothing, or of a playlist that tells nothing", () => {
    const renewal = new Renewal();
    for (const now of [0, 20_000]) {
      expect(renewal.due(now, heard, new Set())).toBe(false);
      expect(renewal.due(now, new Set(), heard)).toBe(false);
    }
  });
});
