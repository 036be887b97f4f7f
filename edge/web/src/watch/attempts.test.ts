import { describe, expect, it } from "vitest";
import { Attempts } from "./attempts.ts";
import { Route } from "./route.ts";

const [old, next] = ["https://a.example.org/hls/cup/", "https://b.example.org/hls/cup/"];
const media = old + "source-video/7.mp4";

/** A route from the first of some edges, and the time that it goes by. */
function routeBy(...edges: string[]) {
  const clock = { now: 0, lives: true };
  const [first = old, ...others] = edges;
  const neighbours = { next: () => others.shift() ?? null, isDead: () => Promise.resolve(!clock.lives) };
  return { clock, route: new Route(first, neighbours, () => clock.now) };
}

const attemptsAt = (route: Route) => new Attempts(media, route, () => 0.5);

describe("a request that fails", () => {
  it("stands where there is one edge only, and where that says no", () => {
    const { route } = routeBy(old);
    for (const status of [0, 404, 503]) expect(attemptsAt(route).next(status, 0)).toBe(null);
    expect(attemptsAt(routeBy(old, next).route).next(404, 0)).toBe(null);
  });

  it("is made at another edge at once where nobody answers", () => {
    for (const status of [0, 502, 504]) {
      const { route } = routeBy(old, next);
      expect(attemptsAt(route).next(status, 0)).toBe(0);
      expect(route.of(media)).toBe(next + "source-video/7.mp4");
    }
  });

  it("is made at the edge that another request has turned to", () => {
    const { route } = routeBy(old, next, "https://c.example.org/hls/cup/");
    const [first, second] = [attemptsAt(route), attemptsAt(route)];
    expect(first.next(0, 0)).toBe(0);
    expect(second.next(0, 0)).toBe(0);
    expect(route.of(media)).toBe(next + "source-video/7.mp4");
  });

  it("is made at the edge in use where its own was left, whatever that one said", () => {
    const { route } = routeBy(old);
    const attempts = attemptsAt(route);
    route.lead(next);
    expect(attempts.next(503, 0)).toBe(0);
    expect(attempts.next(503, 0)).toBe(null);
  });

  it("goes round slowly where no edge answers, and not for long", () => {
    const { route } = routeBy(old, next, old, next, old);
    const attempts = attemptsAt(route);
    expect(attempts.next(0, 0)).toBe(0);
    for (const now of [10, 2000]) expect(attempts.next(0, now)).toBe(150);
    expect(attempts.next(0, 3000)).toBe(null);
  });

  it("is made for a while at an edge that was just turned to", () => {
    const { clock, route } = routeBy(old, next);
    const attempts = attemptsAt(route);
    attempts.next(0, 0);
    for (const [status, now] of [[404, 100], [503, 1000], [0, 2900]] as const) {
      clock.now = now;
      expect(attempts.next(status, now)).toBe(150);
    }
    expect(attempts.next(403, 2900)).toBe(null);
    clock.now = 3000;
    expect(attempts.next(404, 3000)).toBe(null);
  });
});

describe("a request without an answer", () => {
  it("is waited for where its edge lives", async () => {
    const { clock, route } = routeBy(old, next);
    const attempts = attemptsAt(route);
    expect(await attempts.isVain()).toBe(false);
    clock.lives = false;
    expect(await attempts.isVain()).toBe(true);
    clock.lives = true;
    route.lead(next);
    expect(await attempts.isVain()).toBe(true);
  });
});
