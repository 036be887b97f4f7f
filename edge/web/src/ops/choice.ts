/** What somebody has pointed at: a node, or the link between two. */

import type { Flow } from "./tree.ts";

export type Choice = { node: string } | { parent: string; child: string };

export function concerns(choice: Choice, flow: Pick<Flow, "parent" | "child">): boolean {
  return "node" in choice
    ? flow.parent === choice.node || flow.child === choice.node
    : flow.parent === choice.parent && flow.child === choice.child;
}

export function sameChoice(a: Choice | null, b: Choice | null): boolean {
  if (a === null || b === null) return a === b;
  if ("node" in a) return "node" in b && a.node === b.node;
  return !("node" in b) && a.parent === b.parent && a.child === b.child;
}
