import { describe, expect, it } from "vitest";
import { beyondHole, type Range } from "./holes.ts";

describe("beyondHole", () => {
  const ranges: Range[] = [
    [2, 13.8],
    [14, 14.4],
  ];
  it("leaves the playhead alone where there is something to play", () => {
    for (const at of [2, 13.6, 14, 14.3]) expect(beyondHole(ranges, at)).toBeUndefined();
  });
  it("goes over a hole just before it and within it", () => {
    for (const at of [13.7, 13.8, 13.9]) expect(beyondHole(ranges, at)).toBe(14);
  });
  it("waits until there is something to play behind it", () => {
    expect(beyondHole([ranges[0]!, [14, 14.1]], 13.8)).toBeUndefined();
    expect(beyondHole([ranges[0]!, [14, 14.1], [14.5, 15]], 13.8)).toBe(14.5);
    expect(beyondHole([ranges[0]!], 13.8)).toBeUndefined();
  });
  it("finds nothing before all media, behind it, or where there is none", () => {
    expect(beyondHole(ranges, 1)).toBeUndefined();
    expect(beyondHole(ranges, 20)).toBeUndefined();
    expect(beyondHole([], 0)).toBeUndefined();
  });
});
