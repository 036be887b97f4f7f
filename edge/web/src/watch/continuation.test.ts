import { describe, expect, it } from "vitest";
import { continued } from "./continuation.ts";

/** A playlist as an edge writes it. */
const playlist = (first: number, ...segments: string[]) =>
  ["#EXTM3U", "#EXT-X-VERSION:9", `#EXT-X-MEDIA-SEQUENCE:${first}`, "#EXT-X-DISCONTINUITY-SEQUENCE:3", "#EXT-X-TARGETDURATION:2",
    "#EXT-X-PART-INF:PART-TARGET=1.00000", ...segments.flatMap((segment) => segment.split(" ")), "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"9.1.mp4\"", ""].join("\n");
const date = "#EXT-X-PROGRAM-DATE-TIME:2026-11-23T15:00:00.000Z";
const parts = (n: number) => `#EXT-X-PART:DURATION=1.0,URI="${n}.0.mp4" #EXT-X-PART:DURATION=1.0,URI="${n}.1.mp4"`;
const whole = (n: number) => `${date} #EXTINF:2.0, ${n}.mp4`;
const open = `${date} #EXT-X-PART:DURATION=1.0,URI="9.0.mp4"`;
const map = (name: string) => `#EXT-X-MAP:URI="${name}.mp4"`;

describe("the playlist of an edge", () => {
  it("stays as it is where it begins no earlier", () => {
    const text = playlist(7, map("a"), `${parts(7)} ${whole(7)}`, `${parts(8)} ${whole(8)}`, open);
    for (const segment of [0, 5, 7]) expect(continued(text, { segment, parts: segment })).toBe(text);
  });

  it("loses what the player never had", () => {
    const text = playlist(5, map("a"), whole(5), whole(6), `${parts(7)} ${whole(7)}`, `${parts(8)} ${whole(8)}`, open);
    expect(continued(text, { segment: 7, parts: 7 })).toBe(
      playlist(7, map("a"), `${parts(7)} ${whole(7)}`, `${parts(8)} ${whole(8)}`, open),
    );
    expect(continued(text, { segment: 7, parts: 8 })).toBe(playlist(7, map("a"), whole(7), `${parts(8)} ${whole(8)}`, open));
    expect(continued(text, { segment: 9, parts: 9 })).toBe(playlist(9, map("a"), open));
  });

  it("keeps its breaks and init sections", () => {
    const text = playlist(5, map("a"), whole(5), "#EXT-X-DISCONTINUITY", map("b"), whole(6), whole(7), "#EXT-X-DISCONTINUITY", map("c"), whole(8), open);
    const third = (text: string) => text.replace("DISCONTINUITY-SEQUENCE:3", "DISCONTINUITY-SEQUENCE:4");
    expect(continued(text, { segment: 7, parts: 0 })).toBe(third(playlist(7, map("b"), whole(7), "#EXT-X-DISCONTINUITY", map("c"), whole(8), open)));
  });

  it("skips less", () => {
    const text = playlist(3, "#EXT-X-SKIP:SKIPPED-SEGMENTS=4", whole(7), whole(8), open);
    expect(continued(text, { segment: 5, parts: 7 })).toBe(playlist(5, "#EXT-X-SKIP:SKIPPED-SEGMENTS=2", whole(7), whole(8), open));
    expect(continued(text, { segment: 7, parts: 7 })).toBe(playlist(7, whole(7), whole(8), open));
    expect(continued(text, { segment: 8, parts: 8 })).toBe(playlist(8, whole(8), open));
  });

  it("stays as it is where it has nothing that is new enough, or is none", () => {
    for (const text of [playlist(5, whole(5), whole(6)), "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n", ""])
      expect(continued(text, { segment: 20, parts: 20 })).toBe(text);
  });
});
