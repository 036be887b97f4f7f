import { describe, expect, it } from "vitest";
import { byFormat, tints } from "./formats.ts";
import { type Box, layOut, narrow } from "./layout.ts";
import type { Flow } from "./tree.ts";

const node = (name: string, role: string, region = "eu") => ({ name, region, roles: [role] });

const flow = (parent: string, child: string, more: Partial<Flow> = {}): Flow => ({
  stream: "cup/cam1",
  format: "source",
  kind: "video",
  codec: "h264",
  height: 360,
  parent,
  born: parent === "",
  child,
  bitrate: 500_000,
  readers: 1,
  drops: {},
  ...more,
});

const five = [
  node("ingest1", "ingest"),
  node("worker1", "transcoder"),
  node("relay1", "relay"),
  node("relay2", "relay"),
  node("edge1", "edge"),
];

function overlap(a: Box, b: Box): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

describe.each([1100, 640, 390, 320])("%s px wide", (width) => {
  const two = [...five, node("relay9", "relay", "us"), node("edge8", "edge", "us"), node("edge9", "edge", "us")];

  it("has every node in its region's band, and none on another", () => {
    const { boxes, bands, height } = layOut(two, [], width);
    const all = [...boxes];
    expect(all.length).toBe(two.length);
    for (const [name, box] of all) {
      const band = bands.find(({ region }) => region === two.find((n) => n.name === name)!.region)!;
      expect(box.x).toBeGreaterThanOrEqual(0);
      expect(box.x + box.width).toBeLessThanOrEqual(width);
      expect(box.y).toBeGreaterThanOrEqual(band.y);
      expect(box.y + box.height).toBeLessThanOrEqual(band.y + band.height);
      expect(all.filter(([other, at]) => other !== name && overlap(at, box))).toEqual([]);
    }
    expect(bands.map(({ region }) => region)).toEqual(["eu", "us"]);
    expect(height).toBe(bands[1]!.y + bands[1]!.height);
  });

  it("has tiers one after the other, along the flow", () => {
    const { boxes } = layOut(five, [], width);
    const at = (name: string) => (width >= narrow ? boxes.get(name)!.x : boxes.get(name)!.y);
    expect(at("relay1")).toBe(at("relay2"));
    expect(at("ingest1")).toBeLessThan(at("relay1"));
    expect(at("relay1")).toBeLessThan(at("edge1"));
  });

  it("draws every lane with numbers", () => {
    const { links } = layOut(five, [flow("ingest1", "worker1"), flow("ingest1", "relay1"), flow("relay1", "edge1")], width);
    expect(links.map(({ parent, child }) => `${parent} ${child}`)).toEqual([
      "ingest1 relay1",
      "ingest1 worker1",
      "relay1 edge1",
    ]);
    for (const { lanes } of links) {
      for (const { path } of lanes) expect(path).toMatch(/^M[-\d. ]+C[-\d. ]+$/);
    }
  });
});

it("does not move nodes when flows change", () => {
  const before = layOut(five, [], 1000).boxes;
  expect(layOut(five, [flow("relay2", "edge1")], 1000).boxes).toEqual(before);
});

it("bundles flows of one format, and keeps sound apart from the picture", () => {
  const { links } = layOut(
    five,
    [
      flow("relay1", "edge1", { kind: "audio" }),
      flow("relay1", "edge1"),
      flow("relay1", "edge1", { stream: "cup/cam2" }),
      flow("relay1", "edge1", { format: "180p" }),
    ],
    1000,
  );
  expect(links.length).toBe(1);
  expect(links[0]!.lanes.map(({ format, kind, tracks }) => [format, kind, tracks])).toEqual([
    ["source", "video", 2],
    ["180p", "video", 1],
    ["source", "audio", 1],
  ]);
  expect(links[0]!.lanes[0]!.bitrate).toBe(1_000_000);
});

it("leaves out what has no two ends in the picture", () => {
  const flows = [flow("", "ingest1"), flow("elsewhere", "edge1"), flow("edge1", "edge1"), flow("relay1", "gone")];
  expect(layOut(five, flows, 1000).links).toEqual([]);
});

it("spreads the lanes of a side over it, in the order of their other ends", () => {
  const flows = [flow("relay2", "edge1"), flow("relay1", "edge1")];
  const { links, boxes } = layOut(five, flows, 1000);
  const end = (path: string) => Number(path.split(" ").at(-1));
  const [first, second] = links.map(({ lanes }) => end(lanes[0]!.path));
  expect(first).toBeLessThan(second!);
  const edge = boxes.get("edge1")!;
  expect(first).toBeGreaterThan(edge.y);
  expect(second).toBeLessThan(edge.y + edge.height);
});

it("keeps many lanes within the side of a box", () => {
  const flows = Array.from({ length: 40 }, (_, i) => flow("relay1", "edge1", { format: `${100 + i}p` }));
  const { links, boxes } = layOut(five, flows, 1000);
  const edge = boxes.get("edge1")!;
  for (const { path } of links[0]!.lanes) {
    const y = Number(path.split(" ").at(-1));
    expect(y).toBeGreaterThan(edge.y);
    expect(y).toBeLessThan(edge.y + edge.height);
  }
});

it("makes small boxes of many nodes, and takes none at all", () => {
  const many = Array.from({ length: 200 }, (_, i) => node(`edge${i}`, "edge"));
  const layout = layOut(many, [], 1000);
  expect(layout.compact).toBe(true);
  expect(layout.boxes.size).toBe(200);
  expect(layOut([], [], 1000)).toMatchObject({ height: expect.any(Number), bands: [], links: [] });
  expect(layOut([node("all", "ingest")], [], 300).boxes.size).toBe(1);
});

it("has regions where media comes from first, and counts in names", () => {
  const nodes = [...five, node("edge10", "edge", "asia"), node("edge2", "edge", "asia")];
  const { bands, boxes } = layOut(nodes, [], 1000);
  expect(bands.map(({ region }) => region)).toEqual(["eu", "asia"]);
  expect(boxes.get("edge2")!.y).toBeLessThan(boxes.get("edge10")!.y);
});

it("does not name the tier of a node that is alone", () => {
  expect(layOut([{ name: "a", region: "", roles: ["ingest", "relay", "edge"] }], [], 1000).heads).toEqual([]);
  expect(layOut(five, [], 1000).heads.length).toBe(3);
});

it("orders formats and gives each its colour", () => {
  const flows = ["180p", "opus", "source", "720p", "aac"].map((format) =>
    flow("a", "b", { format, kind: format === "opus" || format === "aac" ? "audio" : "video" }),
  );
  expect([...flows].sort(byFormat).map(({ format }) => format)).toEqual(["source", "720p", "180p", "aac", "opus"]);
  const tint = tints(flows);
  const got = flows.map(({ format }) => tint(format));
  expect(new Set(got).size).toBe(5);
  expect(tint("source")).toBe("tint-0");
});

it("gives a node that stands alone on a narrow page the room that is there", () => {
  const [box] = layOut([{ name: "a", region: "", roles: ["edge"] }], [], 358).boxes.values();
  expect(box!.width).toBeGreaterThanOrEqual(300);
});
