/**
 * Where an HLS player loads from while it plays. Segment numbers and paths are
 * the same on every edge, so a player goes on from another one by asking there
 * for what it needs next: it keeps its playlists, its buffer and its place.
 */

import { pause } from "../shared/backoff.ts";

const steering = "steering.json";

/** Leads the addresses below a stream's folder on the edges that were left to the one in use. */
export class Route {
  private left: string[] = [];
  private folder: string;

  /** The stream's folder at the edge where the player begins, and who knows the one to try next where that is dead. */
  constructor(
    folder: string,
    private readonly next: () => string | null = () => null,
  ) {
    this.folder = folderOf(folder);
  }

  /** Loads from the next edge, as the one in use does not answer. False where there is none. */
  turn(): boolean {
    const folder = this.next();
    if (folder !== null) this.lead(folder);
    return folder !== null;
  }

  /** Where to load an address from. */
  of(url: string): string {
    const { href, pathname } = absolute(url);
    if (pathname.endsWith(steering)) return this.steering(url);
    const from = this.left.find((folder) => href.startsWith(folder));
    return from === undefined ? url : this.folder + href.slice(from.length);
  }

  /**
   * The steering manifest gives hls.js the edges to try when one dies. It is not to move the player before: hls.js would
   * load what it has once more. After a move, what was the first pathway leads to the edge in use, whichever that is.
   */
  private steering(url: string): string {
    const at = absolute(this.left.length > 0 ? this.folder + steering : url);
    at.searchParams.set("hold", "1");
    return at.href;
  }

  /** Whether an address is at the edge in use, or one that was left for it. */
  covers(url: string): boolean {
    return [this.folder, ...this.left].some((folder) => absolute(url).href.startsWith(folder));
  }

  /** Loads from another edge from now on. */
  lead(folder: string): void {
    const to = folderOf(folder);
    this.left = [...this.left, this.folder].filter((folder) => folder !== to);
    this.folder = to;
  }
}

/** The same address in another folder of the stream. */
export function rebased(url: string, folder: string): string {
  const to = folderOf(folder);
  const stream = new URL(to).pathname.replace(/^.*(?=\/hls\/)/, "");
  const { href } = absolute(url);
  const at = href.indexOf(stream);
  return at < 0 ? url : to + href.slice(at + stream.length);
}

function folderOf(address: string): string {
  const { origin, pathname } = absolute(address);
  return origin + pathname;
}

function absolute(url: string): URL {
  return new URL(url, typeof location === "undefined" ? "http://localhost/" : location.href);
}

/** An edge that has not begun with a stream needs a moment. */
const readyMs = 6000;
const againMs = 300;

/** Whether an edge serves a playlist, asked for a while. Never rejects. */
export async function listsThere(
  url: string,
  headers: Record<string, string>,
  signal: AbortSignal,
  fetch: (url: string, init: RequestInit) => Promise<Response> = (url, init) => globalThis.fetch(url, init),
): Promise<boolean> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(readyMs)]);
  while (!bounded.aborted) {
    try {
      const response = await fetch(url, { headers, cache: "no-store", signal: bounded });
      if (response.ok && /^#EXT(INF|-X-PART):/m.test(await response.text())) return true;
    } catch {
      // Gone, or too slow.
    }
    await pause(againMs, bounded);
  }
  return false;
}
