import { describe, expect, it } from "vitest";
import { type Choice, concerns, sameChoice } from "./choice.ts";
import type { Shown } from "./history.ts";
import { asTree } from "./tree.ts";
import { dropsText, hopText, loadText, rolesText, state, trackText, viewersText } from "./words.ts";

const node = (more: Partial<Shown>): Shown => ({ ...asTree({ nodes: [{ name: "a" }] }).nodes[0]!, lostAt: null, ...more });

describe("words", () => {
  it.each([
    [{}, "Up"],
    [{ load: 0.97 }, "Full"],
    [{ encoding: 1 }, "Up"],
    [{ trouble: "it did not answer" }, "No answer"],
    [{ trouble: "it did not answer", draining: true }, "Draining"],
    [{ draining: true, lostAt: 5 }, "Gone"],
    [{ draining: true, outdated: true as const }, "Unknown"],
    [{ lostAt: 5, outdated: true as const }, "Gone"],
  ])("of a node with %o: %s", (more, text) => {
    expect(state(node(more)).text).toBe(text);
  });

  it("of figures", () => {
    expect(hopText(null)).toBe("–");
    expect(hopText({ p50_ms: 0.24, p99_ms: 12.4 })).toBe("0.2 / 12 ms");
    expect(loadText(node({ load: 0.5 }))).toBe("50 %");
    expect(loadText(node({ load: 0.5, encoding: 0.87 }))).toBe("50 %, encoders 87 %");
    expect(viewersText({ whep: 3, hls: 0 })).toBe("3 WebRTC");
    expect(viewersText({})).toBe("none");
    expect(dropsText({ missing: 2, lag: 0, odd: 1 })).toBe("2 never came, 1 odd");
    expect(rolesText(["edge", "relay", "ingest", "transcoder"])).toBe("all roles");
  });

  it("of tracks", () => {
    const track = asTree({ flows: [{ format: "source", kind: "video", codec: "h264", height: 720 }] }).flows[0]!;
    expect(trackText(track)).toBe("Source 720p picture, H.264");
    expect(trackText({ ...track, format: "opus", kind: "audio", codec: "opus" })).toBe("Opus sound");
  });
});

it("a choice concerns the flows of its node or link", () => {
  const flow = { parent: "a", child: "b" };
  const choices: [Choice, boolean][] = [
    [{ node: "a" }, true],
    [{ node: "b" }, true],
    [{ node: "c" }, false],
    [{ parent: "a", child: "b" }, true],
    [{ parent: "b", child: "a" }, false],
  ];
  for (const [choice, want] of choices) expect(concerns(choice, flow)).toBe(want);
  expect(sameChoice({ node: "a" }, { node: "a" })).toBe(true);
  expect(sameChoice({ node: "a" }, flow)).toBe(false);
  expect(sameChoice(flow, { parent: "a", child: "b" })).toBe(true);
  expect(sameChoice(null, { node: "a" })).toBe(false);
});
