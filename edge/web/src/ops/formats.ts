/** The order of formats, and their colours: classes `tint-0` to `tint-7` of ops.css. */

import type { Flow } from "./tree.ts";

/** Source first, then by falling height, then sound. */
export function byFormat(a: Pick<Flow, "format" | "kind">, b: Pick<Flow, "format" | "kind">): number {
  return rank(b) - rank(a) || (a.format < b.format ? -1 : a.format > b.format ? 1 : 0);
}

const layers = ["l", "m", "h"];

function rank({ format, kind }: Pick<Flow, "format" | "kind">): number {
  if (kind === "audio") return format === "source" ? -1 : -2;
  if (format === "source") return 1e6;
  return Number.parseInt(format) || layers.indexOf(format) + 1;
}

/** Colours for the given formats: pictures share six, and sound has two of its own. */
export function tints(flows: readonly Pick<Flow, "format" | "kind">[]): (format: string) => string {
  const videos = new Map<string, Pick<Flow, "format" | "kind">>();
  for (const flow of flows) {
    if (flow.kind === "video" && flow.format !== "source") videos.set(flow.format, flow);
  }
  const order = [...videos.values()].sort(byFormat).map(({ format }) => format);
  return (format) => {
    if (format === "source") return "tint-0";
    const at = order.indexOf(format);
    if (at >= 0) return `tint-${1 + (at % 5)}`;
    return format === "aac" ? "tint-7" : "tint-6";
  };
}
