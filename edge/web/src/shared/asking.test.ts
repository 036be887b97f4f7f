import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { keepAsking } from "./asking.ts";
import { parseProblem, ProblemError, type Problem } from "./problem.ts";

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("document", Object.assign(new EventTarget(), { hidden: false }));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Asks for ten minutes, where the server refuses every question with the next of some statuses and then answers. */
async function refusing(...statuses: number[]) {
  const problems: Problem[] = [];
  let asked = 0;
  const ask = () => {
    const status = statuses[asked++];
    return status === undefined ? Promise.resolve() : Promise.reject(new ProblemError(parseProblem(status, "", "")));
  };
  const stop = new AbortController();
  let ended = false;
  void keepAsking(ask, 2500, (problem) => problems.push(problem), stop.signal).then(() => (ended = true));
  await vi.advanceTimersByTimeAsync(600_000);
  const outcome = { asked, ended, told: problems.map(({ status }) => status) };
  stop.abort();
  await vi.advanceTimersByTimeAsync(0);
  return outcome;
}

describe("what a page asks for again and again", () => {
  it.each([401, 403])("is asked no more when the server wants another token: %s", async (status) => {
    expect(await refusing(503, status)).toEqual({ asked: 2, ended: true, told: [503, status] });
  });

  it("is asked on through other troubles", async () => {
    const { asked, ended, told } = await refusing(0, 500, 404, 503);
    expect(asked).toBeGreaterThan(200);
    expect(ended).toBe(false);
    expect(told).toEqual([0, 500, 404, 503]);
  });

  it("is asked seldom while they last", async () => {
    const { asked } = await refusing(...(Array(1000).fill(503) as number[]));
    expect(asked).toBeLessThan(80);
  });
});
