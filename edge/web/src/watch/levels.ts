/** Which HLS level is which of our formats. */

import { formatLabel } from "../shared/formats.ts";

export interface Level {
  /** URLs of the level's playlists. */
  url: readonly string[];
  height: number;
}

/**
 * The index of the level that carries a format, or -1. Where the format itself
 * is not on HLS (a source whose keyframes do not allow it), the level that has
 * as many lines stands for it.
 */
export function levelFor(levels: readonly Level[], root: string, format: string, height?: number): number {
  const named = levels.findIndex((level) => formatOfLevel(level, root) === format);
  if (named >= 0 || height === undefined) return named;
  return levels.findIndex((level) => level.height === height);
}

/**
 * The level to play in place of one that is not to be had any more, from the indices of those that are: the one of its
 * height, else the next smaller one, else any. The level itself where there is none.
 */
export function standIn(levels: readonly Level[], available: readonly number[], level: number): number {
  if (available.length === 0 || available.includes(level)) return level;
  const heightOf = (index: number) => levels[index]?.height ?? 0;
  const fitting = available.filter((index) => heightOf(index) <= heightOf(level));
  const [first = level, ...others] = fitting.length > 0 ? fitting : available;
  return others.reduce((best, index) => (heightOf(index) > heightOf(best) ? index : best), first);
}

/** The format that a level carries: its playlist is at {root}{format}-video/index.m3u8. Empty for any other address. */
export function formatOfLevel({ url }: Level, root: string): string {
  for (const address of url) {
    const path = address.replace(/[?#].*$/, "").replace(/^[a-z]+:\/\/[^/]*/i, "");
    // A stream may itself be called 720p-video: only below its root names mean anything.
    const format = path.startsWith(root) ? /^([a-z0-9-]+)-video\//.exec(path.slice(root.length))?.[1] : undefined;
    if (format !== undefined) return format;
  }
  return "";
}

/**
 * What to call what plays, in one or two words: its format, and its size where the format's name does not tell it. A level
 * keeps the name that it began with when a publisher returns with a smaller picture: then it is the size that is named.
 */
export function nameOf(format: string, height: number, formats: readonly { name: string }[]): string[] {
  if (height <= 0) return [formatLabel(format)];
  const lines = `${height}p`;
  const shrunk = /^\d+p/.test(format) && formats.some(({ name }) => name === lines);
  return format === lines || shrunk ? [lines] : [formatLabel(format), lines];
}

/**
 * The format whose size is nearest to what is decoded, for a transport that does not tell; empty without sizes. Of
 * equal ones it is the source: the server sends that wherever the browser can take it, whatever bit rates are.
 */
export function formatBySize(formats: readonly { name: string; height?: number }[], height: number): string {
  if (height <= 0) return "";
  let best = "";
  let distance = Infinity;
  for (const format of formats) {
    const off = Math.abs((format.height ?? Infinity) - height);
    if (off < distance || (off === distance && format.name === "source")) [best, distance] = [format.name, off];
  }
  return best;
}
