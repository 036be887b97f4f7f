/**
 * Which edge of the cluster the page plays from. The page asks the edge that it
 * is at for others, and keeps the list: when that edge dies there is nobody to ask.
 *
 * A page that plays well moves for two reasons only: its edge is about to stop,
 * or its region was unknown and, as it has measured since, another one is nearer.
 *
 * An edge is named by its base URL; "" stands for the page's own origin.
 */

import { pause } from "../shared/backoff.ts";
import type { Fetch } from "../shared/signalling.ts";
import { authorization } from "../shared/token.ts";
import { nearest, type Probe, roundTrips } from "./nearest.ts";
import { either } from "../shared/either.ts";

/** How long an edge that failed is not gone back to while there are others. */
const penaltyMs = 30_000;
/** The same for one that did not take over what plays: it may be busy, as others move at the same time. */
const spurnedMs = 4_000;
/** An edge that lives answers within that. */
const answerMs = 1000;

export class Edges {
  /** The edge in use. */
  base = "";
  private list: Probe[] = [{ base: "", region: "" }];
  private probes: Probe[] = [];
  /** The nearest, by measuring; empty where others know it, or nobody. */
  private region = "";
  /** Why the page had better play from the best of the list, though it plays. */
  private restless: "drained" | "far" | null = null;
  /** Until when edges are not gone to. */
  private readonly shunned = new Map<string, number>();

  constructor(
    private readonly stream: string,
    private readonly fetch: Fetch = (input, init) => globalThis.fetch(input, init),
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Asks for the list; keeps the one that is there, and leaves the edge, where it is dead. Never rejects. */
  async ask(token: string, signal: AbortSignal): Promise<void> {
    const asked = this.base;
    const query = this.region === "" ? "" : `?region=${encodeURIComponent(this.region)}`;
    try {
      const response = await this.fetch(`${asked}/api/v1/edges/${this.stream}${query}`, {
        headers: { Accept: "application/json", ...authorization(token) },
        cache: "no-store",
        signal: either(signal, AbortSignal.timeout(answerMs)),
      });
      if (response.ok) this.learn(asked, await response.json());
    } catch {
      // What plays finds another edge by itself; what is asked next should, too.
      if (this.base === asked && !(await this.alive(signal))) this.leave(asked);
    }
  }

  /** Takes the best edge for what is opened next, before anything plays. */
  begin(): void {
    this.base = this.best() ?? this.base;
  }

  /** Finds out which region is nearest, where the server does not know. Once, as it costs a few requests. Never rejects. */
  async measure(token: string, signal: AbortSignal): Promise<void> {
    const probes = this.probes;
    const home = this.list.find(({ base }) => base === this.base)?.region ?? "";
    if (probes.length < 2 || this.region !== "") return;
    const region = nearest(await roundTrips(probes, this.fetch, this.now, signal), home);
    if (region === null || signal.aborted) return;
    this.region = region;
    if (region === home) return;
    await this.ask(token, signal);
    if (this.best() !== this.base) this.restless ??= "far";
  }

  /** Where to go on from while the edge in use still serves; null where it is well here. */
  better(): string | null {
    if (this.restless === null) return null;
    const best = this.best((base) => this.restless === "far" || base !== this.base);
    if (best === null || best === this.base) return null;
    return best;
  }

  /** What plays has gone over to another edge. */
  settle(base: string): void {
    this.base = base;
    this.restless = null;
  }

  /** An edge that is not in use would not take what plays. */
  spurn(base: string): void {
    this.shunned.set(base, this.now() + spurnedMs);
    if (this.restless === "far") this.restless = null; // it was a wish, no need
  }

  /** Whether the edge in use still answers anything at all. */
  async alive(signal: AbortSignal): Promise<boolean> {
    return (await this.answers(this.base, signal)) === true || signal.aborted;
  }

  /**
   * Whether the edge in use is dead: it cannot be reached, or is silent for so many milliseconds while another answers. Where
   * none does it is the line that is bad, or the device busy.
   */
  async dead(withinMs: number, signal: AbortSignal): Promise<boolean> {
    const other = this.other();
    if (other === null) return false;
    const done = new AbortController();
    const bounded = either(signal, done.signal);
    const there = this.answers(other, bounded);
    const here = this.answers(this.base, bounded).then(async (answers) => (answers === null ? (await there) === true : !answers));
    const elsewhere = Promise.all([there, pause(withinMs, bounded)]).then(([answers]) => answers === true || here);
    const dead = await Promise.race([here, elsewhere]);
    done.abort();
    return dead && !signal.aborted;
  }

  /** Whether an edge answers at all; null where it is silent. */
  private async answers(base: string, signal: AbortSignal): Promise<boolean | null> {
    const bounded = either(signal, AbortSignal.timeout(answerMs));
    try {
      // Any answer is a sign of life. This one takes neither a token nor a preflight.
      await this.fetch(`${base}/api/v1/ping`, { cache: "no-store", signal: bounded });
      return true;
    } catch {
      return bounded.aborted ? null : false;
    }
  }

  /** Passes by an edge that is full: another may have room. False where all were full lately. */
  pass(): boolean {
    return this.leave(this.base, spurnedMs);
  }

  /** Leaves an edge that failed, by default the one in use, for the next one. False where all have failed lately. */
  leave(failed = this.base, forMs = penaltyMs): boolean {
    if (failed !== this.base) return true; // somebody else found that out first
    this.shunned.set(this.base, this.now() + forMs);
    const next = this.best();
    if (next === null) return false;
    this.settle(next);
    return true;
  }

  /**
   * Leaves the edge in use, as it is dead, for the next one, or where all have failed lately for that which did so first.
   * False where there is no other.
   */
  flee(): boolean {
    const other = this.other();
    if (other === null) return false;
    this.shunned.set(this.base, this.now() + penaltyMs);
    this.settle(other);
    return true;
  }

  /** The edge in use plays. */
  praise(): void {
    this.shunned.delete(this.base);
  }

  /** An address at the edge in use, or at another; marked, so that it does not send the page on. */
  at(path: string, base = this.base): string {
    return base === "" ? path : `${base}${path}${path.includes("?") ? "&" : "?"}via=1`;
  }

  /** The edge to go to when the one in use is dead; null where there is none. */
  private other(): string | null {
    const others = this.list.filter(({ base }) => base !== this.base);
    const until = ({ base }: Probe) => (this.isGood(base) ? -Infinity : (this.shunned.get(base) ?? -Infinity));
    return others.toSorted((a, b) => until(a) - until(b))[0]?.base ?? null;
  }

  private best(fits: (base: string) => boolean = () => true): string | null {
    return this.list.find(({ base }) => fits(base) && this.isGood(base))?.base ?? null;
  }

  private isGood(base: string): boolean {
    return this.now() >= (this.shunned.get(base) ?? -Infinity);
  }

  private learn(asked: string, body: unknown): void {
    const { edges, probes, leave } = body as { edges?: unknown; probes?: unknown; leave?: unknown };
    if (!Array.isArray(edges)) return;
    const list = readEdges(edges, asked);
    // Of a list without edges the page's own origin remains.
    this.list = list.length > 0 ? list : [{ base: "", region: "" }];
    // Names of edges long gone are not kept.
    for (const [base, until] of this.shunned) if (this.now() >= until) this.shunned.delete(base);
    this.probes = readEdges(probes, asked);
    if (asked !== this.base) return; // it was left meanwhile
    if (leave === true) this.restless = "drained";
    else if (this.restless === "drained") this.restless = null;
  }
}

/** Reads edges that a server listed; asked is what it was reached by. */
function readEdges(list: unknown, asked: string): Probe[] {
  const seen = new Set<string>();
  const edges = (Array.isArray(list) ? list : []) as ({ url?: unknown; self?: unknown; region?: unknown } | null)[];
  return edges.flatMap((edge) => {
    const { url, self, region } = edge ?? {};
    const base = self === true ? asked : typeof url === "string" && /^https?:\/\//.test(url) ? url : null;
    if (base === null || seen.has(base)) return [];
    seen.add(base);
    return [{ base, region: typeof region === "string" ? region : "" }];
  });
}
