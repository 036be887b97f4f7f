/**
 * The grammar of stream names: 1 to 4 segments of `[A-Za-z0-9_-]{1,64}` joined
 * by `/`. The server checks every name itself; pages check to answer at once.
 */

const grammar = /^[A-Za-z0-9_-]{1,64}(?:\/[A-Za-z0-9_-]{1,64}){0,3}$/;

export function isStreamName(name: string): boolean {
  return grammar.test(name);
}

/**
 * The stream name in a page's path: `/watch/cup/cam1` under `/watch/` is
 * `cup/cam1`. Null when the path is elsewhere or the name breaks the grammar.
 */
export function nameInPath(path: string, prefix: string): string | null {
  if (!path.startsWith(prefix)) return null;
  let name: string;
  try {
    name = decodeURIComponent(path.slice(prefix.length)).replace(/\/$/, "");
  } catch {
    return null; // a stray percent sign
  }
  return isStreamName(name) ? name : null;
}
