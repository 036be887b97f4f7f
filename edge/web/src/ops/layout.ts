/**
 * Where everything stands: a pure function from the tree to positions.
 *
 * Regions are bands, one below the other. Within a band each tier is a column
 * and media flows from left to right; where there is little width, each tier is
 * a row and media flows down. A link is a bundle of lanes, one per format; the
 * lanes that leave or reach a side of a box are spread over it in the order of
 * their other ends, so that they cross as little as can be.
 */

import { byFormat } from "./formats.ts";
import { type Flow, tierOf, type TreeNode } from "./tree.ts";

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Band extends Box {
  region: string;
}

export interface Head {
  text: string;
  x: number;
  y: number;
}

/** All flows of one format and kind between two nodes. */
export interface Lane {
  format: string;
  kind: Flow["kind"];
  bitrate: number;
  /** How many tracks it stands for. */
  tracks: number;
  path: string;
}

export interface Link {
  parent: string;
  child: string;
  lanes: Lane[];
}

export interface Layout {
  width: number;
  height: number;
  bands: Band[];
  heads: Head[];
  boxes: Map<string, Box>;
  links: Link[];
  /** Media flows from left to right, not down. */
  across: boolean;
  /** Boxes have one line each, as there are many. */
  compact: boolean;
}

type Placed = Pick<TreeNode, "name" | "region" | "roles">;

/** Below this width tiers are rows. */
export const narrow = 640;
/** From so many nodes on boxes are small. */
const many = 24;

const tiers = [1, 2, 3] as const;
const titles = { 1: "Tier 1 · ingest, transcoders", 2: "Tier 2 · relays", 3: "Tier 3 · edges" };
const pad = 14; // between a band's border and what is in it
const bandGap = 14;
const label = 26; // height of a band's label
const titleHeight = 22;
const widest = 330; // of a box in a row
const loopRoom = 34; // beside the first column or row, for links within a tier

export function layOut(nodes: readonly Placed[], flows: readonly Flow[], width: number): Layout {
  const compact = nodes.length >= many;
  const height = compact ? 46 : 96;
  const across = width >= narrow;
  const stand = across ? columns : rows;
  const out: Layout = { width, height: 0, bands: [], heads: [], boxes: new Map(), links: [], across, compact };
  stand(out, nodes, height);
  // A picture of one tier, such as a node alone that has all roles, has nothing to tell apart.
  if (new Set(out.heads.map(({ text }) => text)).size < 2) out.heads = [];
  out.links = connect(bundle(flows, out.boxes), out.boxes, across);
  return out;
}

/** "edge2" comes before "edge10". */
const { compare } = new Intl.Collator("en", { numeric: true });

/** Regions, those where media comes from first, each with its nodes by name. */
function regions(nodes: readonly Placed[]): [string, Placed[]][] {
  const byRegion = new Map<string, Placed[]>();
  for (const node of [...nodes].sort((a, b) => compare(a.name, b.name))) {
    byRegion.set(node.region, [...(byRegion.get(node.region) ?? []), node]);
  }
  const first = (members: Placed[]) => (members.some(({ roles }) => tierOf(roles) === 1) ? 0 : 1);
  return [...byRegion].sort(([a, ofA], [b, ofB]) => first(ofA) - first(ofB) || compare(a, b));
}

function columns(out: Layout, nodes: readonly Placed[], height: number): void {
  const present = tiers.filter((tier) => nodes.some(({ roles }) => tierOf(roles) === tier));
  const inner = out.width - 2 * pad - loopRoom;
  const least = 64; // between columns
  const width = Math.min(250, (inner - least * (present.length - 1)) / Math.max(1, present.length));
  const step = present.length > 1 ? (inner - width) / (present.length - 1) : 0;
  const left = (tier: (typeof tiers)[number]) => pad + loopRoom + step * present.indexOf(tier);
  out.heads = present.map((tier) => ({ text: titles[tier], x: left(tier), y: titleHeight - 8 }));
  let y = titleHeight;
  const gap = out.compact ? 10 : 18;
  for (const [region, members] of regions(nodes)) {
    const used = { 1: 0, 2: 0, 3: 0 };
    for (const { name, roles } of members) {
      const tier = tierOf(roles);
      out.boxes.set(name, { x: left(tier), y: y + label + used[tier]++ * (height + gap), width, height });
    }
    const most = Math.max(...tiers.map((tier) => used[tier]));
    const bandHeight = label + most * (height + gap) - gap + pad;
    out.bands.push({ region, x: 0, y, width: out.width, height: bandHeight });
    y += bandHeight + bandGap;
  }
  out.height = Math.max(0, y - bandGap);
}

function rows(out: Layout, nodes: readonly Placed[], height: number): void {
  const gap = 12;
  const least = 140;
  const inner = out.width - 2 * pad;
  const most = Math.max(1, Math.floor((inner + gap) / (least + gap)));
  let y = 0;
  for (const [region, members] of regions(nodes)) {
    const top = y;
    y += label;
    for (const tier of tiers) {
      const here = members.filter(({ roles }) => tierOf(roles) === tier);
      if (here.length === 0) continue;
      out.heads.push({ text: titles[tier], x: pad, y: y + titleHeight - 8 });
      y += titleHeight + (tier === 1 ? 6 : 12);
      // Few boxes have the room that many would: words are cut where a box is narrow.
      const perRow = Math.min(most, here.length);
      const width = Math.min(widest, (inner - gap * (perRow - 1)) / perRow);
      here.forEach(({ name }, i) => {
        const x = pad + (i % perRow) * (width + gap);
        const row = Math.floor(i / perRow);
        out.boxes.set(name, { x, y: y + row * (height + 34), width, height });
      });
      y += Math.ceil(here.length / perRow) * (height + 34) - 34 + 22;
    }
    y += pad - 22;
    out.bands.push({ region, x: 0, y: top, width: out.width, height: y - top });
    y += bandGap;
  }
  out.height = Math.max(0, y - bandGap);
}

/** Flows between nodes that are drawn, by parent, child, format and kind. */
function bundle(flows: readonly Flow[], boxes: ReadonlyMap<string, Box>): Link[] {
  const links = new Map<string, Link>();
  for (const { parent, child, format, kind, bitrate } of flows) {
    if (parent === "" || parent === child || !boxes.has(parent) || !boxes.has(child)) continue;
    const key = `${parent} ${child}`; // names have no spaces
    const link = links.get(key) ?? { parent, child, lanes: [] };
    links.set(key, link);
    let lane = link.lanes.find((lane) => lane.format === format && lane.kind === kind);
    if (lane === undefined) link.lanes.push((lane = { format, kind, bitrate: 0, tracks: 0, path: "" }));
    lane.bitrate += bitrate;
    lane.tracks++;
  }
  for (const link of links.values()) link.lanes.sort(byFormat);
  return [...links.values()].sort((a, b) => (a.parent + a.child < b.parent + b.child ? -1 : 1));
}

/** Where a lane meets a box. `side` is that of the box, along the flow: its front or its back. */
interface Port {
  box: string;
  side: "front" | "back";
  /** What the ports of a side are ordered by: where the other end is. */
  other: number;
  lane: Lane;
  at: number;
}

const laneGap = 5.5;

function connect(links: Link[], boxes: ReadonlyMap<string, Box>, across: boolean): Link[] {
  const begin = (box: Box) => (across ? box.x : box.y);
  const end = (box: Box) => (across ? box.x + box.width : box.y + box.height);
  const middle = (box: Box) => (across ? box.y + box.height / 2 : box.x + box.width / 2);
  const ports: { from: Port; to: Port; forward: boolean }[] = [];
  for (const { parent, child, lanes } of links) {
    const [from, to] = [boxes.get(parent)!, boxes.get(child)!];
    const forward = begin(to) > end(from);
    for (const lane of lanes) {
      ports.push({
        forward,
        from: { box: parent, side: forward ? "back" : "front", other: middle(to), lane, at: 0 },
        to: { box: child, side: "front", other: middle(from), lane, at: 0 },
      });
    }
  }
  spread(
    ports.flatMap(({ from, to }) => [from, to]),
    boxes,
    across,
  );
  for (const { from, to, forward } of ports) {
    const [a, b] = [boxes.get(from.box)!, boxes.get(to.box)!];
    from.lane.path = forward
      ? curve(end(a), from.at, begin(b), to.at, across)
      : loop(begin(a), from.at, begin(b), to.at, across);
  }
  return links;
}

/** Gives each port its place on the side of its box. */
function spread(ports: Port[], boxes: ReadonlyMap<string, Box>, across: boolean): void {
  const sides = new Map<string, Port[]>();
  for (const port of ports) {
    const key = `${port.box} ${port.side}`;
    sides.set(key, [...(sides.get(key) ?? []), port]);
  }
  for (const side of sides.values()) {
    const box = boxes.get(side[0]!.box)!;
    const [start, length] = across ? [box.y, box.height] : [box.x, box.width];
    const gap = Math.min(laneGap, (length - 12) / side.length);
    side.sort((a, b) => a.other - b.other || byFormat(a.lane, b.lane));
    side.forEach((port, i) => {
      port.at = start + length / 2 + (i - (side.length - 1) / 2) * gap;
    });
  }
}

const point = (along: number, beside: number, across: boolean) =>
  across ? `${round(along)} ${round(beside)}` : `${round(beside)} ${round(along)}`;
const round = (n: number) => Math.round(n * 10) / 10;

/** A lane that goes with the flow. */
function curve(a: number, aBeside: number, b: number, bBeside: number, across: boolean): string {
  const bend = Math.max(12, (b - a) / 2);
  return `M${point(a, aBeside, across)}C${point(a + bend, aBeside, across)} ${point(b - bend, bBeside, across)} ${point(b, bBeside, across)}`;
}

/** A lane within a tier, or against the flow: around the front of both boxes. */
function loop(a: number, aBeside: number, b: number, bBeside: number, across: boolean): string {
  const out = Math.min(a, b) - (across ? loopRoom - 4 : 26);
  return `M${point(a, aBeside, across)}C${point(out, aBeside, across)} ${point(out, bBeside, across)} ${point(b, bBeside, across)}`;
}
