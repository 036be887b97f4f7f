/**
 * Where an HLS player loads from while it plays. Segment numbers and paths are
 * the same on every edge, so a player goes on from another one by asking there
 * for what it needs next: it keeps its playlists, its buffer and its place, and
 * hls.js does not learn of it.
 */

import { pause } from "../shared/backoff.ts";
import { either } from "../shared/either.ts";

/** The edges that there are, as a route needs to know. */
export interface Neighbours {
  /** The stream's folder at the edge to try next, as the one in use does not answer; null where there is none. */
  next(): string | null;
  /** Whether the edge in use is dead; to answer a small question takes it no longer than so many milliseconds. */
  isDead(withinMs: number): Promise<boolean>;
}

const alone: Neighbours = { next: () => null, isDead: () => Promise.resolve(false) };

/** An edge that is new to a stream may say for so long that it has not got it. */
const freshMs = 3000;

/** Leads the addresses below a stream's folder on the edges that were left to the one in use. */
export class Route {
  readonly answering = new AnswerTimes();
  private left: string[] = [];
  private folder: string;
  private turned = -Infinity;
  private asking: Promise<boolean> | null = null;

  /** The stream's folder at the edge where the player begins. */
  constructor(
    folder: string,
    private readonly neighbours: Neighbours = alone,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.folder = folderOf(folder);
  }

  /** Where to load an address from. */
  of(url: string): string {
    const { href } = absolute(url);
    const from = this.left.find((folder) => href.startsWith(folder));
    return from === undefined ? url : this.folder + href.slice(from.length);
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

  /** Turns to another edge, as nobody answers at an address. False where there is none. */
  turn(from: string): boolean {
    const next = this.neighbours.next();
    if (next === null) return false;
    const path = pathOf(from, this.folder);
    if (path !== "") this.left.push(from.slice(0, -path.length)); // a redirect may have led there
    this.lead(next);
    this.turned = this.now();
    return true;
  }

  /** Whether the edge in use has just been turned to. */
  get isFresh(): boolean {
    return this.now() - this.turned < freshMs;
  }

  /** Whether the edge in use is dead, found out for all who ask at one time. */
  isDead(): Promise<boolean> {
    this.asking ??= this.neighbours.isDead(this.answering.limitMs).finally(() => (this.asking = null));
    return this.asking;
  }
}

/** How long answers take: the time that a server holds a request back, and the line. */
export class AnswerTimes {
  private readonly latest: number[] = [];

  add(ms: number): void {
    this.latest.push(ms);
    if (this.latest.length > 8) this.latest.shift();
  }

  /** After so many milliseconds without an answer there is reason to doubt that one will come. */
  get limitMs(): number {
    const [least, most] = [300, 1200];
    if (this.latest.length === 0) return most;
    return Math.min(most, Math.max(least, 2 * Math.max(...this.latest)));
  }
}

/** The same address in another folder of the stream. */
export function rebased(url: string, folder: string): string {
  const to = folderOf(folder);
  const path = pathOf(absolute(url).href, to);
  return path === "" ? url : to + path;
}

/** What an address has below the stream's folder, at whichever edge that is; empty for one that is elsewhere. */
function pathOf(href: string, folder: string): string {
  const stream = new URL(folder).pathname.replace(/^.*(?=\/hls\/)/, "");
  const at = href.indexOf(stream);
  return at < 0 ? "" : href.slice(at + stream.length);
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
  const bounded = either(signal, AbortSignal.timeout(readyMs));
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
