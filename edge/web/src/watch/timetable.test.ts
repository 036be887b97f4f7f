import Hls, { type LevelDetails } from "hls.js";
import { afterEach, describe, expect, it, vi } from "vitest";
import { pieceOf, Timetable } from "./timetable.ts";

const noon = Date.parse("2026-01-02T12:00:00.000Z");

describe("media time on screen", () => {
  it("goes on from piece to piece, however dates are rounded", () => {
    const table = new Timetable();
    for (let i = 0; i < 100; i++) {
      table.add({ start: i * 0.2001, end: (i + 1) * 0.2001, date: Math.round(noon + i * 200.1) });
    }
    expect(table.dateAt(10)!.getTime() - noon).toBeCloseTo(10_000, -1);
  });

  it("leaps where the media does, at that place", () => {
    const table = new Timetable();
    table.add({ start: 0, end: 4, date: noon });
    table.add({ start: 4, end: 6, date: noon + 6500 }); // 2.5 s that nobody sent
    expect(table.dateAt(3.9)!.getTime() - noon).toBe(3900);
    expect(table.dateAt(4.1)!.getTime() - noon).toBe(6600);
  });

  it("is that of what was put there last", () => {
    const table = new Timetable();
    table.add({ start: 0, end: 6, date: noon });
    table.add({ start: 2, end: 4, date: noon + 1000 });
    expect([1, 3, 5].map((at) => table.dateAt(at)!.getTime() - noon)).toEqual([1000, 2000, 5000]);
  });

  it("goes on in a hole, and is unknown before anything came", () => {
    const table = new Timetable();
    expect(table.dateAt(0)).toBeNull();
    table.add({ start: 0, end: 2, date: noon });
    table.add({ start: 2, end: 2, date: noon + 9000 }); // nothing
    expect(table.dateAt(2.3)!.getTime() - noon).toBe(2300);
  });
});

/**
 * A takeover, as our playlists tell it: the first publisher's last segment is whole, nobody sends for 1.4 s, and the second
 * one's media begins within a segment, at its eighth part. That segment is still open.
 */
const takenOver = `#EXTM3U
#EXT-X-VERSION:10
#EXT-X-TARGETDURATION:2
#EXT-X-PART-INF:PART-TARGET=0.2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6
#EXT-X-MEDIA-SEQUENCE:100
#EXT-X-MAP:URI="a.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-01-02T11:59:58.000Z
#EXTINF:2.00000,
99.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-01-02T12:00:00.000Z
#EXTINF:2.00000,
100.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="b.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-01-02T12:00:02.000Z
${Array.from({ length: 7 }, (_, i) => `#EXT-X-PART:DURATION=0.20000,URI="101.${i}.m4s",GAP=YES`).join("\n")}
#EXT-X-PART:DURATION=0.20000,URI="101.7.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.20000,URI="101.8.m4s"
`;

/** What hls.js reads out of a playlist. */
function read(playlist: string): Promise<LevelDetails> {
  class Loader {
    context = null;
    stats = { loading: { start: 0, first: 0, end: 0 }, parsing: { start: 0, end: 0 }, loaded: 0, aborted: false };
    load(context: { url: string }, _: unknown, callbacks: { onSuccess(...args: unknown[]): void }): void {
      setTimeout(() => callbacks.onSuccess({ url: context.url, data: playlist, code: 200 }, this.stats, context, null));
    }
    abort(): void {}
    destroy(): void {}
  }
  const hls = new Hls({ loader: Loader as never, enableWorker: false, autoStartLoad: false });
  return new Promise<LevelDetails>((resolve) => {
    hls.on(Hls.Events.LEVEL_LOADED, (_, { details }) => resolve(details));
    hls.loadSource("https://e.test/index.m3u8");
  }).finally(() => hls.destroy());
}

describe("media time over a takeover", () => {
  afterEach(() => vi.unstubAllGlobals());

  it("is that of the media, wherever on the playhead's timeline it was put", async () => {
    vi.stubGlobal("self", globalThis);
    vi.stubGlobal("location", { href: "https://e.test/" });
    const { fragments, fragmentHint, partList } = await read(takenOver);
    const table = new Timetable();
    // The playhead's timeline has no time for what nobody sent: the second publisher's media follows on the first one's.
    const video = (startPTS: number, endPTS: number) => ({ video: { startPTS, endPTS } });
    const { programDateTime } = fragments[1]!;
    table.add(pieceOf({ frag: { programDateTime, elementaryStreams: video(2, 4) }, part: null })!);
    const sent = partList!.filter(({ gap }) => !gap);
    sent.forEach(({ fragOffset }, i) => {
      const elementaryStreams = video(4 + i * 0.2, 4.2 + i * 0.2);
      const frag = { programDateTime: fragmentHint!.programDateTime, elementaryStreams: video(4, 4.4) };
      table.add(pieceOf({ frag, part: { fragOffset, elementaryStreams } })!);
    });
    expect(table.dateAt(3.9)!.getTime() - noon).toBeCloseTo(1900, 0);
    expect(table.dateAt(4.1)!.getTime() - noon).toBeCloseTo(3500, 0);
    expect(table.dateAt(4.3)!.getTime() - noon).toBeCloseTo(3700, 0);
    // From the fragment alone, whose start is that of its first media and not of its date, it would be 1.4 s off.
    expect(fragmentHint!.programDateTime! + 0.1 * 1000 - noon).toBe(2100);
  });

  it("is not moved by a start that was guessed too early", () => {
    const table = new Timetable();
    const frag = { programDateTime: noon, elementaryStreams: { video: { startPTS: 2, endPTS: 3.7 } } };
    table.add(pieceOf({ frag, part: { fragOffset: 0, elementaryStreams: { video: { startPTS: 3.5, endPTS: 3.7 } } } })!);
    const playhead = 3.6;
    expect(table.dateAt(playhead)!.getTime() - noon).toBeCloseTo(100, 0);
    const byFragment = (playhead - frag.elementaryStreams.video.startPTS) * 1000;
    expect(byFragment).toBeCloseTo(1600, 0); // so much newer than the picture is, and 1.5 s of delay untold
  });

  it("knows no piece where nothing tells its place or its date", () => {
    expect(pieceOf({ frag: { programDateTime: null, elementaryStreams: { video: { startPTS: 0, endPTS: 2 } } }, part: null })).toBeNull();
    expect(pieceOf({ frag: { programDateTime: noon, elementaryStreams: { video: null } }, part: null })).toBeNull();
  });
});
