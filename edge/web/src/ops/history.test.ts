import { describe, expect, it } from "vitest";
import { fadeMs, presence, remember } from "./history.ts";
import { asTree, tierOf, type Tree } from "./tree.ts";
import { agoText, goneText } from "./words.ts";

const tree = (names: string[], more: { total?: number; draining?: string } = {}): Tree =>
  asTree({
    nodes: names.map((name) => ({ name, roles: ["relay"], draining: more.draining === name })),
    total: more.total ?? names.length,
  });

describe("memory", () => {
  it("keeps a lost node for a while, fading", () => {
    let memory = remember(null, tree(["a", "b"]), 0);
    expect(memory.news).toBe(""); // all is new: nothing has happened
    memory = remember(memory, tree(["a"]), 1000);
    expect(memory.news).toBe("b has gone.");
    expect(memory.nodes.map(({ name, lostAt }) => [name, lostAt])).toEqual([
      ["a", null],
      ["b", 1000],
    ]);
    expect(presence(memory.nodes[0]!, 9000)).toBe(1);
    expect(presence(memory.nodes[1]!, 1000 + fadeMs / 2)).toBe(0.5);
    memory = remember(memory, tree(["a"]), 2000);
    expect(memory.news).toBe("");
    memory = remember(memory, tree(["a"]), 1000 + fadeMs);
    expect(memory.nodes.map(({ name }) => name)).toEqual(["a"]);
  });

  it("tells of those who come, come back and drain", () => {
    let memory = remember(null, tree(["a"]), 0);
    memory = remember(memory, tree(["a", "b"]), 1);
    expect(memory.news).toBe("b has joined.");
    memory = remember(memory, tree(["a"]), 2);
    memory = remember(memory, tree(["a", "b"], { draining: "a" }), 3);
    expect(memory.news).toBe("a drains. b has joined.");
    expect(memory.nodes.every(({ lostAt }) => lostAt === null)).toBe(true);
  });

  it("does not take a node for lost that is only left out", () => {
    let memory = remember(null, tree(["a", "b"]), 0);
    memory = remember(memory, tree(["a", "c"], { total: 1000 }), 1);
    expect(memory.news).toBe("");
    expect(memory.nodes.map(({ name }) => name)).toEqual(["a", "c"]);
  });
});

it("takes whatever a server says", () => {
  for (const body of [null, 1, "x", [], {}, { nodes: {}, flows: 7 }, { nodes: [null, 3, []], flows: [null] }]) {
    const got = asTree(body);
    expect(got.total).toBe(got.nodes.length);
  }
  expect(asTree({ nodes: [{ name: "a", load: 7, viewers: { hls: -1, whep: 2, x: "y" } }] }).nodes[0]).toMatchObject({
    load: 1,
    viewers: { hls: 0, whep: 2, x: 0 },
    hop: null,
    trouble: "",
    troubles: [],
  });
});

it("knows the tier of a node by its roles", () => {
  expect(tierOf(["ingest", "transcoder", "relay", "edge"])).toBe(1);
  expect(tierOf(["relay", "edge"])).toBe(2);
  expect(tierOf(["edge"])).toBe(3);
  expect(tierOf([])).toBe(3);
});

it("tells of those who went as the server does", () => {
  const { gone, time } = asTree({
    time: "2026-01-02T03:04:17.5Z",
    nodes: [{ name: "c" }],
    gone: [
      { name: "a", region: "eu", roles: ["relay"], at: "2026-01-02T03:04:05Z", left: true },
      { name: "b", roles: null, at: "yesterday", left: "yes" },
      { name: "c", at: "2026-01-02T03:00:00Z" },
    ],
  });
  expect(gone.map(({ name }) => name)).toEqual(["a", "c"]);
  expect(agoText(time - gone[0]!.at)).toBe("13 s ago");
  expect(gone.map((node) => goneText(node, ["c"]))).toEqual([
    "Left: it said goodbye",
    "Died, or was cut off. It is back",
  ]);
});

it("says how long ago something was", () => {
  expect([-5, 12_400, 59_600, 190_000].map(agoText)).toEqual(["0 s ago", "12 s ago", "1 min ago", "3 min ago"]);
});
