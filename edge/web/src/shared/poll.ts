/** Asking again and again, gently: never while nobody looks, never two requests at once. */

import { pause } from "./backoff.ts";

/** Calls `ask` every `everyMs` (which may change) until the signal aborts; sleeps while the tab is hidden and asks at once when it shows. */
export async function poll(
  ask: (signal: AbortSignal) => Promise<void>,
  everyMs: number | (() => number),
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await visible(signal);
    if (signal.aborted) return;
    await ask(signal).catch(() => undefined); // `ask` tells its own story; the next round is the remedy
    // A tenth of jitter, so that many viewers' polls drift apart.
    await pause((typeof everyMs === "number" ? everyMs : everyMs()) * (0.95 + 0.1 * Math.random()), signal);
  }
}

/** Resolves when the tab is visible or the signal aborts. */
export function visible(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (!document.hidden || signal.aborted) return resolve();
    const check = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", check);
      signal.removeEventListener("abort", check);
      resolve();
    };
    document.addEventListener("visibilitychange", check);
    signal.addEventListener("abort", check);
  });
}
