import { describe, expect, it } from "vitest";
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

it("is not moved by a start that hls.js has guessed", () => {
  const table = new Timetable();
  const streams = (startPTS: number, endPTS: number) => ({
    video: { startPTS, endPTS },
  });
  const first = { start: 0, programDateTime: noon, elementaryStreams: streams(0, 2) };
  // Guessed to begin where the segment before was listed to end; its media was then put 1.5 s later.
  const second = { start: 2, programDateTime: noon + 3400, elementaryStreams: streams(2, 3.7) };
  table.add(pieceOf({ frag: first, part: null })!);
  table.add(pieceOf({ frag: second, part: { fragOffset: 0, elementaryStreams: streams(3.5, 3.7) } })!);
  table.add(pieceOf({ frag: second, part: { fragOffset: 0.2, elementaryStreams: streams(3.7, 3.9) } })!);
  const playhead = 3.8;
  const byGuess = second.programDateTime + (playhead - second.start) * 1000;
  expect(table.dateAt(playhead)!.getTime() - noon).toBe(3700);
  expect(byGuess - noon).toBe(5200); // 1.5 s of delay would not be told
});
