/** What a page asks the server for again and again, with the token of its address. */

import { type Signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Backoff, pause } from "./backoff.ts";
import { either } from "./either.ts";
import { poll } from "./poll.ts";
import { type Problem, ProblemError, wantsToken } from "./problem.ts";
import { tokenInFragment } from "./token.ts";

const retry = { firstMs: 1000, mostMs: 15_000 };

export interface Asking<T> {
  token: Signal<string>;
  /** The last answer; null before the first. It stays while there is a problem. */
  answer: Signal<T | null>;
  /** Of the last question; null where it was answered. */
  problem: Signal<Problem | null>;
}

/** Asks for as long as the component is there; `get` is told the answer before, which it may go on from. */
export function useAnswer<T>(
  get: (token: string, signal: AbortSignal, before: T | null) => Promise<T>,
  everyMs: number,
): Asking<T> {
  const token = useSignal(tokenInFragment(location.hash));
  const answer = useSignal<T | null>(null);
  const problem = useSignal<Problem | null>(null);
  const brought = useSignal(0); // how often a person has brought a token, be it the same

  useEffect(() => {
    const follow = () => {
      token.value = tokenInFragment(location.hash);
      brought.value += 1;
    };
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);

  useEffect(() => {
    const stop = new AbortController();
    const ask = async (signal: AbortSignal) => {
      const told = await get(token.value, signal, answer.value);
      if (signal.aborted) return;
      answer.value = told;
      problem.value = null;
    };
    void keepAsking(ask, everyMs, (why) => void (problem.value = why), stop.signal);
    return () => stop.abort();
  }, [brought.value]);

  return { token, answer, problem };
}

/**
 * Asks until the signal aborts, and less and less often while the server has trouble; or until it wants another token, as
 * with the same one it would only refuse again. Never rejects.
 */
export async function keepAsking(
  ask: (signal: AbortSignal) => Promise<void>,
  everyMs: number,
  onProblem: (problem: Problem) => void,
  signal: AbortSignal,
): Promise<void> {
  const refused = new AbortController();
  const backoff = new Backoff(retry);
  const once = async (signal: AbortSignal) => {
    try {
      await ask(signal);
      backoff.reset();
    } catch (error) {
      if (signal.aborted || !(error instanceof ProblemError)) return;
      onProblem(error.problem);
      if (wantsToken(error.problem)) refused.abort();
      else await pause(backoff.next(error.problem.retryAfterMs), signal);
    }
  };
  await poll(once, everyMs, either(signal, refused.signal));
}
