import { describe, expect, it } from "vitest";
import { listsThere, rebased, Route } from "./route.ts";

const own = "http://localhost/hls/cup/cam1/";

describe("a route", () => {
  it("changes nothing where no edge was left", () => {
    const route = new Route("/hls/cup/cam1/");
    expect(route.of(`${own}720p-video/7.mp4`)).toBe(`${own}720p-video/7.mp4`);
    expect(route.covers(`${own}index.m3u8`)).toBe(true);
    expect(route.covers("http://eu2/hls/cup/cam1/index.m3u8")).toBe(false);
  });

  it("leads from the edges that were left, and back", () => {
    const route = new Route("/hls/cup/cam1/");
    route.lead("http://eu2/hls/cup/cam1/?via=1");
    expect(route.of(`${own}720p-video/index.m3u8?_HLS_msn=3`)).toBe("http://eu2/hls/cup/cam1/720p-video/index.m3u8?_HLS_msn=3");
    route.lead("https://us1.example.org/live/hls/cup/cam1/?via=1");
    for (const from of [own, "http://eu2/hls/cup/cam1/"]) {
      expect(route.of(`${from}720p-video/7.mp4`)).toBe("https://us1.example.org/live/hls/cup/cam1/720p-video/7.mp4");
      expect(route.covers(`${from}720p-video/7.mp4`)).toBe(true);
    }
    expect(route.of("http://eu3/hls/cup/cam1/720p-video/7.mp4")).toBe("http://eu3/hls/cup/cam1/720p-video/7.mp4");
    route.lead("/hls/cup/cam1/");
    expect(route.of("http://eu2/hls/cup/cam1/7.mp4")).toBe(`${own}7.mp4`);
    expect(route.of(`${own}7.mp4`)).toBe(`${own}7.mp4`);
  });

  it("has the player steered to where it is", () => {
    const route = new Route("/hls/cup/cam1/");
    const steering = "http://eu3/hls/cup/cam1/steering.json?base=eu1&_HLS_pathway=.";
    expect(route.of(steering)).toBe(`${steering}&hold=1`);
    route.lead("http://eu2/hls/cup/cam1/?via=1");
    expect(route.of(steering)).toBe("http://eu2/hls/cup/cam1/steering.json?hold=1");
  });

  it("finds an address on another edge", () => {
    expect(rebased(`${own}720p-video/index.m3u8`, "http://eu2/x/hls/cup/cam1/?via=1")).toBe("http://eu2/x/hls/cup/cam1/720p-video/index.m3u8");
    expect(rebased("http://eu2/x/hls/cup/cam1/a/b", "/hls/cup/cam1/")).toBe(`${own}a/b`);
    expect(rebased("http://eu2/elsewhere", "/hls/cup/cam1/")).toBe("http://eu2/elsewhere");
  });
});

describe("a playlist at another edge", () => {
  it("is waited for", async () => {
    const answers = [new Response("", { status: 503 }), new Response("#EXTM3U\n"), new Response("#EXTM3U\n#EXTINF:2,\n7.mp4\n")];
    const fetch = () => Promise.resolve(answers.shift() ?? Response.error());
    expect(await listsThere("http://eu2/", {}, new AbortController().signal, fetch)).toBe(true);
    expect(answers.length).toBe(0);
  });

  it("is given up with the page", async () => {
    const page = new AbortController();
    const waiting = listsThere("http://eu2/", {}, page.signal, () => Promise.reject(new TypeError("gone")));
    page.abort();
    expect(await waiting).toBe(false);
  });
});
