import { describe, expect, it } from "vitest";
import { formatBySize, formatOfLevel, levelFor } from "./levels.ts";
import { wishInQuery } from "./wish.ts";

const levels = [
  { url: ["https://e.test/hls/cup/cam1/360p/index.m3u8?x=720p"], height: 360 },
  { url: ["/hls/cup/cam1/720p.m3u8"], height: 720 },
  { name: "source", url: ["/hls/cup/cam1/a.m3u8"], height: 1080 },
];
const root = "/hls/cup/cam1/";
const formats = [
  { name: "source", height: 1080 },
  { name: "720p", height: 720 },
  { name: "360p", height: 360 },
];

describe("levels and formats", () => {
  it.each([
    ["360p", 0],
    ["720p", 1],
    ["source", 2],
    ["480p", -1],
    ["cup", -1],
  ])("%s is level %i", (format, index) => {
    expect(levelFor(levels, root, format)).toBe(index);
  });

  it("goes by height where no name tells", () => {
    expect(levelFor([{ url: ["/a"], height: 540 }], root, "middle", 540)).toBe(0);
    expect(levelFor([{ url: ["/a"], height: 540 }], root, "540p")).toBe(0);
    expect(levelFor([{ url: ["/a"], height: 540 }], root, "opus")).toBe(-1);
  });

  it("is not misled by a stream that is called like a format", () => {
    const level = { url: ["/hls/cup/720p/360p/index.m3u8"], height: 360 };
    expect(levelFor([level], "/hls/cup/720p/", "720p")).toBe(-1);
    expect(formatOfLevel(level, "/hls/cup/720p/", formats)).toBe("360p");
  });

  it("names the format of a level", () => {
    expect(levels.map((level) => formatOfLevel(level, root, formats))).toEqual(["360p", "720p", "source"]);
    expect(formatOfLevel({ url: ["/x"], height: 720 }, root, formats)).toBe("720p");
    expect(formatOfLevel({ url: ["/x"], height: 240 }, root, formats)).toBe("");
  });

  it("finds the format nearest to a decoded size", () => {
    expect([1080, 700, 300, 0].map((height) => formatBySize(formats, height))).toEqual([
      "source",
      "720p",
      "360p",
      "",
    ]);
    expect(formatBySize([], 720)).toBe("");
  });
});

describe("wishInQuery", () => {
  it.each([
    ["", "auto", "auto"],
    ["?transport=hls&format=720p", "hls", "720p"],
    ["?transport=webrtc", "webrtc", "auto"],
    ["?transport=pigeon&format=../x", "auto", "auto"],
    ["?format=a/b", "auto", "auto"],
    ["?format=<b>", "auto", "auto"],
  ])("%j", (query, transport, format) => expect(wishInQuery(query)).toEqual({ transport, format }));
});
