/** The live tree as `GET /api/v1/cluster/tree` tells it. */

import { get } from "../shared/api.ts";

export interface Hop {
  p50_ms: number;
  p99_ms: number;
}

export interface TreeNode {
  name: string;
  region: string;
  roles: string[];
  url: string;
  /** Share of its capacity in use, 0 to 1. */
  /** Share of its line in use. */
  load: number;
  /** Share of its encoders in use. */
  encoding: number;
  draining: boolean;
  version: string;
  /** By transport. */
  viewers: Record<string, number>;
  /** Delay from its parents' logs to its own, all tracks; null where nothing came lately. */
  hop: Hop | null;
  /** Packets that its links left out, by reason. */
  drops: Record<string, number>;
  /** Why only gossip tells of it; empty where it answers. */
  trouble: string;
  /** What it says is set wrong there or around it, though it works. */
  troubles: string[];
}

/** A track on its way into a node. */
export interface Flow {
  stream: string;
  format: string;
  kind: "video" | "audio";
  codec: string;
  height: number;
  /** Empty where the track is born at the child, or has no parent at the moment. */
  parent: string;
  born: boolean;
  child: string;
  /** Bits per second. */
  bitrate: number;
  readers: number;
  drops: Record<string, number>;
}

/** A node that went. */
export interface Gone {
  name: string;
  region: string;
  roles: string[];
  /** By the clock of who tells it, in milliseconds since 1970. */
  at: number;
  /** It said goodbye; another one died, or the network cut it off. */
  left: boolean;
}

export interface Tree {
  /** Who gathered it. */
  node: string;
  /** When, by its clock, in milliseconds since 1970; not a number where it does not say. */
  time: number;
  /** Who went lately, the latest first. */
  gone: Gone[];
  nodes: TreeNode[];
  flows: Flow[];
  /** Nodes alive; more than `nodes` in a large cluster. */
  total: number;
  /** Flows that are left out. */
  more: number;
}

/** Rejects with ProblemError. */
export async function getTree(token: string, signal: AbortSignal): Promise<Tree> {
  return asTree(await get("/api/v1/cluster/tree", token, signal));
}

type Fields = Record<string, unknown>;

const text = (value: unknown): string => (typeof value === "string" ? value : "");
const count = (value: unknown): number =>
  typeof value === "number" && Number.isFinite(value) && value > 0 ? value : 0;
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const fields = (value: unknown): Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
const counts = (value: unknown): Record<string, number> =>
  Object.fromEntries(Object.entries(fields(value)).map(([key, n]) => [key, count(n)]));

/** Fills what an older or newer server leaves out, so that the page needs no guards. */
export function asTree(body: unknown): Tree {
  const tree = fields(body);
  const nodes = list(tree["nodes"]).map(asNode);
  return {
    node: text(tree["node"]),
    time: Date.parse(text(tree["time"])),
    gone: list(tree["gone"])
      .map(asGone)
      .filter(({ at }) => Number.isFinite(at)),
    nodes,
    flows: list(tree["flows"]).map(asFlow),
    total: Math.max(count(tree["total"]), nodes.length),
    more: count(tree["more"]),
  };
}

function asNode(body: unknown): TreeNode {
  const node = fields(body);
  const hop = node["hop"] === undefined || node["hop"] === null ? null : fields(node["hop"]);
  return {
    name: text(node["name"]),
    region: text(node["region"]),
    roles: list(node["roles"]).map(text),
    url: text(node["url"]),
    load: Math.min(1, count(node["load"])),
    encoding: Math.min(1, count(node["encoding"])),
    draining: node["draining"] === true,
    version: text(node["version"]),
    viewers: counts(node["viewers"]),
    hop: hop && { p50_ms: count(hop["p50_ms"]), p99_ms: count(hop["p99_ms"]) },
    drops: counts(node["drops"]),
    trouble: text(node["trouble"]),
    troubles: list(node["troubles"]).map(text),
  };
}

function asGone(body: unknown): Gone {
  const gone = fields(body);
  return {
    name: text(gone["name"]),
    region: text(gone["region"]),
    roles: list(gone["roles"]).map(text),
    at: Date.parse(text(gone["at"])),
    left: gone["left"] === true,
  };
}

function asFlow(body: unknown): Flow {
  const flow = fields(body);
  return {
    stream: text(flow["stream"]),
    format: text(flow["format"]),
    kind: flow["kind"] === "audio" ? "audio" : "video",
    codec: text(flow["codec"]),
    height: count(flow["height"]),
    parent: text(flow["parent"]),
    born: flow["born"] === true,
    child: text(flow["child"]),
    bitrate: count(flow["bitrate"]),
    readers: count(flow["readers"]),
    drops: counts(flow["drops"]),
  };
}

export function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, n) => total + n, 0);
}

/** Which of the three tiers a node is drawn in: the highest that it has a role of. */
export function tierOf(roles: readonly string[]): 1 | 2 | 3 {
  if (["ingest", "mixer", "transcoder"].some((role) => roles.includes(role))) return 1;
  return roles.includes("relay") ? 2 : 3;
}
