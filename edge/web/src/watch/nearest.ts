/**
 * Which region is nearest, where neither a proxy nor a file of addresses tells
 * the server: the page measures round trips to a few edges of different regions.
 */

import { pause } from "../shared/backoff.ts";
import type { Fetch } from "../shared/signalling.ts";
import { either } from "../shared/either.ts";

/** An edge to measure, by its base URL. */
export interface Probe {
  base: string;
  region: string;
}

/** A measured probe; null where nothing came back in time. */
export interface RoundTrip {
  region: string;
  ms: number | null;
}

/** Requests after the first, which opens the connection and says little of the way. */
const samples = 5;
/** Between requests: what keeps the page busy for a moment is not to touch all of them. */
const betweenMs = 100;
/** All of it ends within that. */
const mostMs = 4000;

/** Measures all at the same time, so that what else the line carries is alike for all. Never rejects. */
export function roundTrips(
  probes: readonly Probe[],
  fetch: Fetch,
  now: () => number,
  signal: AbortSignal,
): Promise<RoundTrip[]> {
  const bounded = either(signal, AbortSignal.timeout(mostMs));
  return Promise.all(
    probes.map(async ({ base, region }) => ({ region, ms: await roundTrip(base, fetch, now, bounded) })),
  );
}

/** The shortest of a few round trips: whatever else there is to wait for only adds to it. */
async function roundTrip(
  base: string,
  fetch: Fetch,
  now: () => number,
  signal: AbortSignal,
): Promise<number | null> {
  let least: number | null = null;
  try {
    for (let i = 0; i <= samples; i++) {
      const since = now();
      const response = await fetch(`${base}/api/v1/ping`, { cache: "no-store", credentials: "omit", signal });
      if (!response.ok) return null;
      if (i > 0) least = Math.min(least ?? Infinity, now() - since);
      if (i < samples) await pause(betweenMs, signal);
    }
  } catch {
    // Too slow, or gone: what has been measured counts.
  }
  return least;
}

/** Another region must be nearer by so much, and by that share: less is not worth a new connection, or is chance. */
const leastGainMs = 20;
const leastShare = 0.2;

/** The region to be in; home unless another is clearly nearer. Null where nothing could be measured. */
export function nearest(measured: readonly RoundTrip[], home: string): string | null {
  let best: { region: string; ms: number } | null = null;
  let atHome = Infinity;
  for (const { region, ms } of measured) {
    if (ms === null) continue;
    if (region === home) atHome = Math.min(atHome, ms);
    if (best === null || ms < best.ms) best = { region, ms };
  }
  if (best === null) return null;
  const gain = atHome - best.ms;
  return gain >= leastGainMs && gain >= leastShare * atHome ? best.region : atHome === Infinity ? best.region : home;
}
