/**
 * Which edge of the cluster the page plays from. The page asks the edge that it
 * is at for others, and keeps the list: when that edge dies there is nobody to ask.
 *
 * An edge is named by its base URL; "" stands for the page's own origin.
 */

import type { Fetch } from "../shared/signalling.ts";
import { authorization } from "../shared/token.ts";

/** How long an edge that failed is not gone back to while there are others. */
const penaltyMs = 30_000;
/** An edge that lives answers within that. */
const answerMs = 1000;

export class Edges {
  /** The edge in use. */
  base = "";
  private list: string[] = [""];
  private readonly failed = new Map<string, number>();

  constructor(
    private readonly stream: string,
    private readonly fetch: Fetch = (input, init) => globalThis.fetch(input, init),
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Asks for the list; keeps the one that is there, and leaves the edge, where it is dead. Never rejects. */
  async ask(token: string, signal: AbortSignal): Promise<void> {
    const asked = this.base;
    try {
      const response = await this.fetch(`${asked}/api/v1/edges/${this.stream}`, {
        headers: { Accept: "application/json", ...authorization(token) },
        cache: "no-store",
        signal: AbortSignal.any([signal, AbortSignal.timeout(answerMs)]),
      });
      if (response.ok) this.learn(asked, await response.json());
    } catch {
      // What plays may go on without it, as hls.js finds another edge by itself; what is asked next should not.
      if (this.base === asked && !(await this.alive(signal))) this.leave();
    }
  }

  /** Takes the best edge for what is opened next, before anything plays. */
  begin(): void {
    this.base = this.list.find((base) => this.isGood(base)) ?? this.base;
  }

  /** Whether the edge in use still answers anything at all. */
  async alive(signal: AbortSignal): Promise<boolean> {
    try {
      // Any answer is a sign of life. Without a token it takes no preflight.
      await this.fetch(`${this.base}/api/v1/edges/${this.stream}`, {
        cache: "no-store",
        signal: AbortSignal.any([signal, AbortSignal.timeout(answerMs)]),
      });
      return true;
    } catch {
      return signal.aborted;
    }
  }

  /** Leaves the edge in use for the next one. False where all have failed lately. */
  leave(): boolean {
    this.failed.set(this.base, this.now());
    const next = this.list.find((base) => this.isGood(base));
    if (next === undefined) return false;
    this.base = next;
    return true;
  }

  /** The edge in use plays. */
  praise(): void {
    this.failed.delete(this.base);
  }

  /** An address at the edge in use; marked, so that it does not send the page on. */
  at(path: string): string {
    return this.base === "" ? path : `${this.base}${path}${path.includes("?") ? "&" : "?"}via=1`;
  }

  private isGood(base: string): boolean {
    const since = this.failed.get(base);
    return since === undefined || this.now() - since > penaltyMs;
  }

  private learn(asked: string, body: unknown): void {
    const { edges } = body as { edges?: { url?: unknown; self?: unknown }[] };
    if (!Array.isArray(edges)) return;
    const list = edges
      .map(({ url, self }) => (self === true ? asked : typeof url === "string" && /^https?:\/\//.test(url) ? url : null))
      .filter((base) => base !== null);
    // Of a list without edges the page's own origin remains.
    this.list = [...new Set(list.length > 0 ? list : [""])];
  }
}
