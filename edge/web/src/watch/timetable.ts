/**
 * Which media time is on screen by HLS.
 *
 * hls.js 1.7.4 tells it from the fragment that it last saw playing: its
 * program date-time, plus how far the playhead is from its start. It moves that
 * start about, though, as playlists are merged, and over a break in the media
 * to the least that it ever was, which is a guess made before the media came.
 * Then its date is wrong by what the guess was wrong by. So this keeps what was
 * put into the buffer, piece by piece: where it begins on the playhead's
 * timeline, as measured, and its date, as the playlist says.
 */

/** A piece of media in the buffer, in seconds of the playhead's timeline. */
export interface Piece {
  start: number;
  end: number;
  /** Media time of its first frame, in milliseconds since the epoch. */
  date: number;
}

/** Pieces whose dates are this near to going on from each other are one; playlists round to milliseconds. */
const roundingMs = 5;
/** Many more breaks than a buffer has. */
const mostSpans = 64;

/** Everything within it has the same distance of media time to playhead. */
interface Span {
  start: number;
  end: number;
  /** Media time at the playhead's zero, in milliseconds. */
  zero: number;
}

export class Timetable {
  /** In order, and apart. */
  private spans: Span[] = [];

  /** A piece was put into the buffer: over whatever there was. */
  add({ start, end, date }: Piece): void {
    if (!(end > start) || !Number.isFinite(date)) return;
    const zero = date - start * 1000;
    const kept = this.spans.flatMap((span) => without(span, start, end));
    const before = kept.findLast((span) => span.end <= start);
    if (before !== undefined && start - before.end < 0.1 && Math.abs(before.zero - zero) <= roundingMs) before.end = end;
    else kept.push({ start, end, zero });
    this.spans = kept.sort((a, b) => a.start - b.start).slice(-mostSpans);
  }

  /** Media time at a place of the playhead; null where nothing is known. In a hole it goes on from what is before. */
  dateAt(position: number): Date | null {
    const span = this.spans.findLast(({ start }) => start <= position) ?? this.spans[0];
    return span === undefined ? null : new Date(span.zero + position * 1000);
  }
}

/** What is left of a span when something else lies from start to end. */
function without(span: Span, start: number, end: number): Span[] {
  if (span.end <= start || span.start >= end) return [span];
  return [
    { ...span, end: start },
    { ...span, start: end },
  ].filter((rest) => rest.end > rest.start);
}

/** Where media of a kind begins and ends. */
interface Extent {
  startPTS: number;
  endPTS: number;
}

/** The parts of hls.js' fragments and their parts that tell what was put into the buffer. */
export interface Buffered {
  frag: { programDateTime: number | null; elementaryStreams: Streams };
  part: { fragOffset: number; elementaryStreams: Streams } | null;
}

type Streams = Partial<Record<"video" | "audiovideo" | "audio", Extent | null>>;

/** The piece that hls.js has put into the buffer, for its picture where it has one; null where it is not told. */
export function pieceOf({ frag, part }: Buffered): Piece | null {
  const { video, audiovideo, audio } = (part ?? frag).elementaryStreams;
  const extent = video ?? audiovideo ?? audio;
  if (extent === undefined || extent === null || frag.programDateTime === null) return null;
  const date = frag.programDateTime + (part?.fragOffset ?? 0) * 1000;
  return { start: extent.startPTS, end: extent.endPTS, date };
}
