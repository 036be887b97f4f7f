/**
 * Takes the playhead over holes in what is buffered.
 *
 * Where the picture has a hole and the sound has none, Chromium plays the sound on and shows no picture for three
 * seconds, whatever comes behind the hole; only then does it halt. hls.js looks for holes where the playhead stands.
 */

/** From where to where something is buffered, in seconds. */
export type Range = readonly [start: number, end: number];

/** So near to a hole the playhead is taken over it: it may have passed it when it is next looked at. */
const near = 0.15;
/** So much must be there behind the hole, or playback would halt at once. */
const enough = 0.3;

/** Where playback goes on if the playhead has come to a hole; undefined if it has not. Ranges are in order and apart. */
export function beyondHole(ranges: readonly Range[], at: number): number | undefined {
  const next = ranges.findIndex(([start]) => start > at);
  const before = ranges[next - 1];
  if (before === undefined || at < before[1] - near) return undefined;
  return ranges.slice(next).find(([start, end]) => end - start >= enough)?.[0];
}
