import { describe, expect, it } from "vitest";
import { nearest, roundTrips } from "./nearest.ts";

describe("the nearest region", () => {
  const at = (region: string, ms: number | null) => ({ region, ms });
  it.each([
    ["another by far", [at("eu", 180), at("us", 20)], "us"],
    ["home", [at("eu", 20), at("us", 90)], "eu"],
    ["home, where another is hardly nearer", [at("eu", 24), at("us", 6)], "eu"],
    ["home, where another is nearer by a small share", [at("eu", 200), at("us", 185)], "eu"],
    ["another, where home does not answer", [at("eu", null), at("us", 90)], "us"],
    ["the best of several", [at("eu", 180), at("us", 90), at("ap", 30), at("sa", null)], "ap"],
    ["another, where home is not measured", [at("us", 90), at("ap", 95)], "us"],
    ["unknown, where none answers", [at("eu", null), at("us", null)], null],
    ["unknown, where there is none", [], null],
  ])("is %s", (_, measured, want) => {
    expect(nearest(measured, "eu")).toBe(want);
  });
});

describe("measuring", () => {
  const never = new AbortController().signal;

  it("takes the shortest trip on a connection that is open", async () => {
    let now = 0;
    const took = [300, 110, 90, 140, 95, 200]; // the first opens the connection
    const asked: [string, RequestInit | undefined][] = [];
    const found = await roundTrips(
      [{ base: "http://us1", region: "us" }],
      (input, init) => {
        asked.push([input, init]);
        now += took.shift()!;
        return Promise.resolve(new Response(null, { status: 204 }));
      },
      () => now,
      never,
    );
    expect(found).toEqual([{ region: "us", ms: 90 }]);
    expect(asked.length).toBe(6);
    expect(asked[0]).toMatchObject(["http://us1/api/v1/ping", { cache: "no-store", credentials: "omit" }]);
  });

  it("knows nothing of an edge that fails, is older, or answers once", async () => {
    const answers: Record<string, (number | null)[]> = { dead: [null], old: [404], once: [204, null] };
    const found = await roundTrips(
      ["dead", "old", "once"].map((region) => ({ base: `http://${region}`, region })),
      (input) => {
        const status = answers[new URL(input).host]!.shift();
        if (!status) return Promise.reject(new TypeError("gone"));
        return Promise.resolve(new Response(null, { status }));
      },
      () => 0,
      never,
    );
    expect(found.map(({ ms }) => ms)).toEqual([null, null, null]);
  });

  it("ends with the page", async () => {
    const page = new AbortController();
    const waiting = roundTrips(
      [{ base: "", region: "eu" }],
      (_, init) => new Promise((_, reject) => init!.signal!.addEventListener("abort", () => reject(new Error()))),
      () => 0,
      page.signal,
    );
    page.abort();
    expect(await waiting).toEqual([{ region: "eu", ms: null }]);
  });
});
