import { describe, expect, it } from "vitest";
import { AnswerTimes, listsThere, rebased, Route } from "./route.ts";

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

  it("turns to the next edge from wherever nobody answers", () => {
    const edges = ["http://eu2/hls/cup/cam1/?via=1", "http://eu3/x/hls/cup/cam1/?via=1"];
    const route = new Route("/hls/cup/cam1/", { next: () => edges.shift() ?? null, isDead: () => Promise.resolve(false) });
    expect(route.isFresh).toBe(false);
    expect(route.turn(`${own}720p-video/7.mp4`)).toBe(true);
    expect(route.of(`${own}720p-video/8.mp4`)).toBe("http://eu2/hls/cup/cam1/720p-video/8.mp4");
    expect(route.turn("http://eu9/redirected/hls/cup/cam1/720p-video/8.mp4")).toBe(true);
    for (const from of [own, "http://eu2/hls/cup/cam1/", "http://eu9/redirected/hls/cup/cam1/"])
      expect(route.of(`${from}720p-video/8.mp4`)).toBe("http://eu3/x/hls/cup/cam1/720p-video/8.mp4");
    expect(route.turn(`${own}720p-video/7.mp4`)).toBe(false);
    expect(route.isFresh).toBe(true);
  });

  it("asks once for all whether the edge in use is dead", async () => {
    let asked = 0;
    const isDead = () => Promise.resolve(++asked === 2);
    const route = new Route(own, { next: () => null, isDead });
    expect(await Promise.all([route.isDead(), route.isDead()])).toEqual([false, false]);
    expect(await route.isDead()).toBe(true);
    expect(asked).toBe(2);
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

describe("the time of answers", () => {
  it("is doubted beyond twice what the latest took", () => {
    const times = new AnswerTimes();
    const first = times.limitMs;
    expect(first).toBeGreaterThan(1000);
    times.add(10);
    expect(times.limitMs).toBe(300);
    times.add(210);
    expect(times.limitMs).toBe(420);
    times.add(6000);
    expect(times.limitMs).toBe(first);
    for (let i = 0; i < 8; i++) times.add(250);
    expect(times.limitMs).toBe(500);
  });
});
