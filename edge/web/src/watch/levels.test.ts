import { describe, expect, it } from "vitest";
import { formatBySize, formatOfLevel, levelFor, nameOf, standIn } from "./levels.ts";
import { wishInQuery } from "./wish.ts";

const root = "/hls/cup/cam1/";
const level = (format: string, height: number, server = "https://e.test") => ({
  url: [`${server}${root}${format}-video/index.m3u8`],
  height,
});
const levels = [level("360p", 360), level("720p", 720), level("720p-vp9", 720), level("1080p", 1080, "")];
const formats = [
  { name: "source", height: 1080 },
  { name: "720p", height: 720 },
  { name: "360p", height: 360 },
];

describe("levels and formats", () => {
  it.each([
    ["360p", 0],
    ["720p", 1],
    ["720p-vp9", 2],
    ["1080p", 3],
    ["480p", -1],
    ["cup", -1],
  ])("%s is level %i", (format, index) => {
    expect(levelFor(levels, root, format)).toBe(index);
  });

  it("goes by height where a format is not on HLS", () => {
    expect(levelFor(levels, root, "source", 1080)).toBe(3);
    expect(levelFor(levels, root, "source", 2160)).toBe(-1);
    expect(levelFor(levels, root, "source")).toBe(-1);
  });

  it.each([
    [3, [0, 1, 2, 3], 3], // it is there
    [2, [0, 1, 3], 1], // of its height
    [3, [0, 1], 1], // the next smaller
    [0, [1, 3], 3], // anything
    [2, [], 2],
  ])("level %i of those at %j is played as level %i", (level, available, want) => {
    expect(standIn(levels, available, level)).toBe(want);
  });

  it("is not misled by a stream that is called like a format", () => {
    const odd = { url: ["/hls/cup/720p-video/360p-video/index.m3u8?x=720p-video/"], height: 360 };
    expect(levelFor([odd], "/hls/cup/720p-video/", "720p")).toBe(-1);
    expect(formatOfLevel(odd, "/hls/cup/720p-video/")).toBe("360p");
  });

  it("names the format of a level", () => {
    expect(levels.map((level) => formatOfLevel(level, root))).toEqual(["360p", "720p", "720p-vp9", "1080p"]);
    expect(formatOfLevel({ url: ["/x/index.m3u8"], height: 720 }, root)).toBe("");
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

  it.each([
    ["720p", 720, ["720p"]],
    ["source", 1080, ["Source", "1080p"]],
    ["auto", 0, ["Auto"]],
    ["360p", 270, ["270p"]], // the publisher came back smaller
    ["360p-vp9", 270, ["270p"]],
    ["480p", 200, ["480p", "200p"]], // a wide picture
  ])("%s with %i lines is called %j", (format, height, want) => {
    expect(nameOf(format, height, [...formats, { name: "270p" }])).toEqual(want);
  });

  it("takes the source for what an automatic choice brings, where a rung has the same size", () => {
    const equal = [{ name: "720p", height: 720 }, { name: "source", height: 720 }, { name: "360p", height: 360 }];
    expect(formatBySize(equal, 720)).toBe("source");
    expect(formatBySize([...equal].reverse(), 720)).toBe("source");
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
