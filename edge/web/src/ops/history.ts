/** What has just changed: who came, who went. A node that goes stays in the picture for a while, fading. */

import type { Tree, TreeNode } from "./tree.ts";

export interface Shown extends TreeNode {
  /** When it was missed first, in milliseconds of the page's clock; null while it is there. */
  lostAt: number | null;
  /** The server does not answer: how the node is now is not known. */
  outdated?: true;
}

export interface Memory {
  tree: Tree;
  nodes: Shown[];
  /** What has just happened, in a sentence for those who do not see it; empty if nothing. */
  news: string;
}

/** For how long a lost node is shown in the picture; the list of who has gone comes from the server. */
export const fadeMs = 8000;

export function remember(before: Memory | null, tree: Tree, now: number): Memory {
  const alive = new Set(tree.nodes.map(({ name }) => name));
  const nodes: Shown[] = tree.nodes.map((node) => ({ ...node, lostAt: null }));
  const news: string[] = [];
  // In a cluster that is only shown in part, a node may be left out for others.
  const whole = tree.total === tree.nodes.length;
  for (const node of before?.nodes ?? []) {
    if (alive.has(node.name) || !whole) continue;
    if (node.lostAt === null) news.push(`${node.name} has gone.`);
    const lostAt = node.lostAt ?? now;
    if (now - lostAt < fadeMs) nodes.push({ ...node, lostAt });
  }
  if (before !== null) {
    const known = new Map(before.nodes.map((node) => [node.name, node]));
    for (const node of tree.nodes) {
      const earlier = known.get(node.name);
      if (earlier === undefined ? whole : earlier.lostAt !== null) news.push(`${node.name} has joined.`);
      else if (earlier !== undefined && node.draining && !earlier.draining) news.push(`${node.name} drains.`);
    }
  }
  nodes.sort((a, b) => (a.name < b.name ? -1 : 1));
  return { tree, nodes, news: news.join(" ") };
}

/** The same memory, of a tree that cannot be seen any more: it stays as it was, and how its nodes are now is not known. */
export function outdated(memory: Memory): Memory {
  return { ...memory, nodes: memory.nodes.map((node) => ({ ...node, outdated: true })) };
}

/** From 1 for a node that is there down to 0 for one that is forgotten. */
export function presence(node: Shown, now: number): number {
  return node.lostAt === null ? 1 : Math.max(0, 1 - (now - node.lostAt) / fadeMs);
}
