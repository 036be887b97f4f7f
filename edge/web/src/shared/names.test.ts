import { describe, expect, it } from "vitest";
import { isStreamName, nameInPath } from "./names.ts";

describe("the name grammar", () => {
  it.each(["cam1", "cup/cam1", "calls/7f3a/ana/camera", "A-b_9", "a".repeat(64)])("takes %s", (name) => {
    expect(isStreamName(name)).toBe(true);
  });

  it.each([
    "",
    "/",
    "/cam",
    "cam/",
    "a//b",
    "a/b/c/d/e",
    "..",
    "a/../b",
    "a b",
    "ä",
    "a.b",
    "a%2fb",
    "cam\n",
    "a".repeat(65),
  ])("refuses %j", (name) => {
    expect(isStreamName(name)).toBe(false);
  });
});

describe("nameInPath", () => {
  it.each([
    ["/watch/cup/cam1", "cup/cam1"],
    ["/watch/cup%2Fcam1", "cup/cam1"],
    ["/watch/cup/cam1/", "cup/cam1"], // a slash that somebody typed
    ["/watch/", null],
    ["/watch/%", null],
    ["/watch/%2e%2e", null],
    ["/publish/cup/cam1", null],
  ])("%s holds %s", (path, name) => {
    expect(nameInPath(path, "/watch/")).toBe(name);
  });
});
