/** Which HLS level is which of our formats. */

export interface Level {
  name?: string;
  /** URLs of the level's playlists. */
  url: readonly string[];
  height: number;
}

/**
 * The index of the level that carries a format, or -1. The playlist's NAME or
 * a part of its path below the stream's root (`/hls/cup/cam1/`) decides; the
 * height only when neither tells.
 */
export function levelFor(levels: readonly Level[], root: string, format: string, height?: number): number {
  const named = levels.findIndex(
    (level) => level.name === format || level.url.some((url) => inPath(url, root, format)),
  );
  if (named >= 0) return named;
  const lines = height ?? Number(/^(\d{3,4})p$/.exec(format)?.[1] ?? 0);
  return lines > 0 ? levels.findIndex((level) => level.height === lines) : -1;
}

/** The format that a level carries, among the names we know; empty when none fits. */
export function formatOfLevel(
  level: Level,
  root: string,
  formats: readonly { name: string; height?: number }[],
): string {
  const named = formats.find(
    ({ name }) => level.name === name || level.url.some((url) => inPath(url, root, name)),
  );
  return (named ?? formats.find(({ height }) => height !== undefined && height === level.height))?.name ?? "";
}

/** Whether `720p` is a segment of the path below the root, or the stem of its last one. */
function inPath(url: string, root: string, format: string): boolean {
  const path = url.replace(/[?#].*$/, "").replace(/^[a-z]+:\/\/[^/]*/i, "");
  // A stream may itself be called 720p: above the root names mean nothing.
  const below = path.startsWith(root) ? path.slice(root.length) : path;
  return below.split("/").some((segment) => segment === format || segment.replace(/\.\w+$/, "") === format);
}

/** The format whose size is nearest to what is decoded, for a transport that does not tell; empty without sizes. */
export function formatBySize(formats: readonly { name: string; height?: number }[], height: number): string {
  if (height <= 0) return "";
  let best = "";
  let distance = Infinity;
  for (const format of formats) {
    const off = Math.abs((format.height ?? Infinity) - height);
    if (off < distance) [best, distance] = [format.name, off];
  }
  return best;
}
