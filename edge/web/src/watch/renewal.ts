/**
 * When to open HLS anew. A player reads the multivariant playlist once, so what
 * a publisher brings back with him (sound, a larger picture, another codec)
 * does not come to those who watch already. The API tells what there is now.
 */

import type { Format } from "../shared/api.ts";
import { type Abilities, codecOf, plays, videoFormats } from "../shared/formats.ts";
import { formatOfLevel, type Level } from "./levels.ts";

/** Renditions by name and codec, such as `720p h264`, and `sound`. */
export type Renditions = ReadonlySet<string>;

const sound = "sound";

/** What the server offers by HLS to this browser now. */
export function offered(formats: readonly Format[], able: Abilities): Renditions {
  const videos = videoFormats(formats, "hls", able).map(({ name, codec }) => `${name} ${codec!.toLowerCase()}`);
  const heard = formats.some((format) => format.kind === "audio" && plays(format, "hls", able));
  return new Set(heard ? [...videos, sound] : videos);
}

/** What the playlist had when it was read. */
export function carried(
  levels: readonly (Level & { videoCodec?: string | undefined; audioCodec?: string | undefined })[],
  root: string,
  withSound: boolean,
): Renditions {
  const videos = levels.flatMap((level) => {
    const name = formatOfLevel(level, root);
    return name === "" ? [] : [`${name} ${codecOf(level.videoCodec)}`];
  });
  return new Set(withSound || levels.some(({ audioCodec }) => audioCodec) ? [...videos, sound] : videos);
}

/** What is new is waited for by someone; but it has to stay for so long, as a publisher's tracks come one by one. */
const gainedMs = 1500;
/** What is gone disturbs nobody at once, and may be back in a moment. */
const lostMs = 8000;

const isSource = (name: string) => name.startsWith("source ");

/** Whether a picture that was carried beside the source is still offered. */
function standsIn(had: Renditions, has: Renditions): boolean {
  return [...had].some((name) => name !== sound && !isSource(name) && has.has(name));
}

/** Decides from what was carried and is offered, asked every now and then. */
export class Renewal {
  private since = 0;
  private last = "";
  private done = "";

  /** Whether to open anew. Once for each offer: one that cannot be had as it is told would be tried for ever. */
  due(now: number, had: Renditions, has: Renditions): boolean {
    const offer = [...has].sort().join();
    if (offer !== this.last) [this.last, this.since] = [offer, now];
    if (has.size === 0 || had.size === 0 || offer === this.done) return false;
    // A source whose keyframes come to stand right is no gain, as a rung of its size stood for it all along; and one
    // whose keyframes do not any more is no loss, as such a rung stands for it now.
    const gained = [...has].some((name) => !had.has(name) && (!isSource(name) || [...had].some(isSource)));
    const lost = [...had].some((name) => !has.has(name) && !(isSource(name) && standsIn(had, has)));
    if (!(gained && now - this.since >= gainedMs) && !(lost && now - this.since >= lostMs)) return false;
    this.done = offer;
    return true;
  }
}
