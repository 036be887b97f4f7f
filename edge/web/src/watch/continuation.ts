/**
 * Makes the playlist of another edge the continuation of the one that a player
 * has. All edges number alike, but each lists from where it began itself, so
 * that one which has served for longer lists what is older. hls.js 1.7.4 takes
 * it that a playlist's beginning only ever moves forward: otherwise it mistakes
 * segments for others, loads once more what it has, and may halt for good.
 */

/** Where a playlist begins. */
export interface Beginning {
  /** The number of its first segment. */
  segment: number;
  /** The number of the first segment whose parts are listed. */
  parts: number;
}

const sequenceTag = /^#EXT-X-MEDIA-SEQUENCE:(\d+)/m;
const skipTag = /^#EXT-X-SKIP:SKIPPED-SEGMENTS=(\d+)/m;
const breaksTag = /^#EXT-X-DISCONTINUITY-SEQUENCE:(\d+)/m;
const mapTag = /^#EXT-X-MAP:/;
const breakTag = /^#EXT-X-DISCONTINUITY\s*$/;
const partTag = /^#EXT-X-PART:/;
/** What is said of one segment: its tags, and its address. */
const ofSegment = /^(#EXTINF:|#EXT-X-(PART|MAP|PROGRAM-DATE-TIME|BYTERANGE):|#EXT-X-(GAP|DISCONTINUITY)\s*$|[^#\s])/;

/** A media playlist without what is older than a beginning. One that has nothing newer stays as it is. */
export function continued(playlist: string, from: Beginning): string {
  const first = numberOf(playlist, sequenceTag);
  if (first === null) return playlist;
  const skipped = numberOf(playlist, skipTag) ?? 0;
  const excess = Math.max(0, from.segment - first);
  const lines: string[] = [];
  let number = first + skipped; // of the segment that a line is about
  let map: string | null = null; // the last that was left out, which holds on
  let breaks = 0; // that were left out
  for (const line of playlist.split("\n")) {
    if (!ofSegment.test(line)) {
      lines.push(line);
      continue;
    }
    if (number < from.segment) {
      if (mapTag.test(line)) map = line;
      if (breakTag.test(line)) breaks++;
    } else if (!partTag.test(line) || number >= from.parts) {
      if (map !== null) lines.push(map);
      map = null;
      lines.push(line);
    }
    if (!line.startsWith("#")) number++;
  }
  if (number < from.segment) return playlist;
  return lines
    .join("\n")
    .replace(sequenceTag, `#EXT-X-MEDIA-SEQUENCE:${first + excess}`)
    .replace(breaksTag, (_, before) => `#EXT-X-DISCONTINUITY-SEQUENCE:${Number(before) + breaks}`)
    .replace(skipTag, `#EXT-X-SKIP:SKIPPED-SEGMENTS=${Math.max(0, skipped - excess)}`)
    .replace(/^#EXT-X-SKIP:SKIPPED-SEGMENTS=0.*\n/m, "");
}

function numberOf(playlist: string, tag: RegExp): number | null {
  const found = tag.exec(playlist)?.[1];
  return found === undefined ? null : Number(found);
}
