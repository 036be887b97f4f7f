import { describe, expect, it } from "vitest";
import { Edges } from "./edges.ts";

const never = new AbortController().signal;

function edgesWith(...lists: unknown[]) {
  const asked: string[] = [];
  let now = 0;
  const edges = new Edges(
    "cup/cam1",
    (input) => {
      asked.push(input);
      const next = lists.shift();
      return next === undefined
        ? Promise.reject(new TypeError("gone"))
        : Promise.resolve(new Response(JSON.stringify(next)));
    },
    () => now,
  );
  return { edges, asked, pass: (ms: number) => void (now += ms) };
}

const list = (...edges: object[]) => ({ region: "eu", edges });
const [own, second, third] = [
  { url: "http://eu1", self: true },
  { url: "http://eu2" },
  { url: "http://us1" },
];

describe("the edge in use", () => {
  it("is the page's own where there is no other", async () => {
    const { edges, asked } = edgesWith(list());
    await edges.ask("", never);
    edges.begin();
    expect(edges.base).toBe("");
    expect(edges.at("/whep/cup/cam1")).toBe("/whep/cup/cam1");
    expect(edges.leave()).toBe(false);
    expect(asked).toEqual(["/api/v1/edges/cup/cam1"]);
  });

  it("is the best of the list", async () => {
    const { edges } = edgesWith(list(third, own));
    await edges.ask("", never);
    edges.begin();
    expect(edges.base).toBe("http://us1");
    expect(edges.at("/whep/cup/cam1?format=720p")).toBe("http://us1/whep/cup/cam1?format=720p&via=1");
    expect(edges.at("/hls/cup/cam1/index.m3u8")).toBe("http://us1/hls/cup/cam1/index.m3u8?via=1");
  });

  it("gives way to the next one when it fails, and to none when all have", async () => {
    const { edges, pass } = edgesWith(list(own, second, third));
    await edges.ask("", never);
    expect(edges.leave() && edges.base).toBe("http://eu2");
    expect(edges.leave() && edges.base).toBe("http://us1");
    expect(edges.leave()).toBe(false);
    pass(31_000);
    expect(edges.leave() && edges.base).toBe("");
  });

  it("is left once, however many find out that it is dead", async () => {
    const { edges } = edgesWith(list(own, second, third));
    await edges.ask("", never);
    const asking = edges.ask("", never); // nobody answers any more
    const { base } = edges;
    const playing = edges.alive(never).then((alive) => !alive && edges.leave(base));
    await Promise.all([asking, playing]);
    expect(edges.base).toBe("http://eu2");
    expect(await playing).toBe(true);
  });

  it("is told from others when it is the one that was asked", async () => {
    const { edges } = edgesWith(list(own, second), list({ url: "http://eu2", self: true }, third));
    await edges.ask("", never);
    edges.leave();
    await edges.ask("", never);
    edges.leave();
    expect(edges.base).toBe("http://us1");
  });

  it("is left when it does not answer, and the list stays", async () => {
    const { edges } = edgesWith(list(own, second));
    await edges.ask("", never);
    await edges.ask("", never);
    expect(edges.base).toBe("http://eu2");
    expect(await edges.alive(never)).toBe(false);
  });

  it("ignores what is no list", async () => {
    const { edges } = edgesWith({ edges: "no" }, list({ url: "javascript:1" }, { url: 7 }), { edges: [null, 3] }, 5);
    for (let i = 0; i < 4; i++) await edges.ask("", never);
    edges.begin();
    expect(edges.base).toBe("");
  });
});

describe("an edge that is silent", () => {
  /** A page at its own edge that knows of eu2, and how the two behave from then on. */
  async function page(at: Record<string, "answers" | "refuses" | "hangs">) {
    let listed = false;
    const edges = new Edges("cup/cam1", async (input, init) => {
      if (!listed) return Promise.resolve(new Response(JSON.stringify(list(own, second))));
      const [name = ""] = /^http:..\w+/.exec(input) ?? [];
      if (at[name] === "answers") return new Response("{}");
      if (at[name] === "hangs") await new Promise((resolve) => init?.signal?.addEventListener("abort", resolve));
      throw new TypeError("gone");
    });
    await edges.ask("", never);
    listed = true;
    return edges;
  }

  it("is dead where it refuses, or another one answers", async () => {
    expect(await (await page({ "": "refuses", "http://eu2": "hangs" })).dead(10, never)).toBe(true);
    for (const within of [10, 60_000]) // an answer that takes longer than a second is none
      expect(await (await page({ "": "hangs", "http://eu2": "answers" })).dead(within, never)).toBe(true);
  });

  it("is not where nothing answers, as the line is bad", async () => {
    for (const other of ["hangs", "refuses"] as const)
      expect(await (await page({ "": "hangs", "http://eu2": other })).dead(10, never)).toBe(false);
  });

  it("is not where it does answer", async () => {
    for (const other of ["answers", "hangs", "refuses"] as const)
      expect(await (await page({ "": "answers", "http://eu2": other })).dead(10, never)).toBe(false);
  });

  it("is fled from, to and fro if need be", async () => {
    const edges = await page({});
    for (const next of ["http://eu2", "", "http://eu2"]) {
      expect(edges.flee()).toBe(true);
      expect(edges.base).toBe(next);
    }
    expect(new Edges("cup/cam1").flee()).toBe(false);
  });
});

describe("an edge that drains", () => {
  const leaving = (...edges: object[]) => ({ ...list(...edges), leave: true });

  it("is left for the best that is there", async () => {
    const { edges, pass } = edgesWith(list(own, second, third), leaving(second, third));
    await edges.ask("", never);
    expect(edges.better()).toBe(null);
    await edges.ask("", never);
    expect(edges.better()).toBe("http://eu2");
    edges.spurn("http://eu2"); // it did not take the page
    expect(edges.better()).toBe("http://us1");
    edges.spurn("http://us1");
    expect(edges.better()).toBe(null);
    pass(5000);
    expect(edges.better()).toBe("http://eu2");
    edges.spurn("http://eu2");
    edges.settle("http://us1");
    expect(edges.base).toBe("http://us1");
    expect(edges.better()).toBe(null);
  });

  it("is kept where there is no other, and where it does not drain after all", async () => {
    const { edges } = edgesWith(leaving(own), leaving(second), list(own, second));
    await edges.ask("", never);
    expect(edges.better()).toBe(null);
    await edges.ask("", never);
    expect(edges.better()).toBe("http://eu2");
    await edges.ask("", never);
    expect(edges.better()).toBe(null);
  });
});

describe("a page in no known region", () => {
  const eu = { url: "http://eu1", self: true, region: "eu" };
  const us = { url: "http://us1", region: "us" };

  /** A page at eu1 that is so many milliseconds from it, and from us1. */
  function pageAt(far: { eu: number; us: number }) {
    let now = 0;
    const asked: string[] = [];
    const edges = new Edges(
      "cup/cam1",
      (input) => {
        if (input.endsWith("/ping")) {
          now += input.startsWith("http://us1") ? far.us : far.eu;
          return Promise.resolve(new Response(null, { status: 204 }));
        }
        asked.push(input);
        const [list, probes] = input.includes("region=us") ? [[us, eu], []] : [[eu, us], [eu, us]];
        return Promise.resolve(new Response(JSON.stringify({ region: "", edges: list, probes })));
      },
      () => now,
    );
    return { edges, asked };
  }

  it("goes to the region that is nearest, and stays there", async () => {
    const { edges, asked } = pageAt({ eu: 90, us: 5 });
    await edges.ask("", never);
    edges.begin();
    expect(edges.base).toBe("");
    await edges.measure("", never);
    expect(asked.at(-1)).toBe("/api/v1/edges/cup/cam1?region=us");
    expect(edges.better()).toBe("http://us1");
    edges.settle("http://us1");
    expect(edges.better()).toBe(null);
    const before = asked.length;
    await edges.measure("", never); // once is enough
    expect(asked.length).toBe(before);
  });

  it("stays where it is nearest", async () => {
    const { edges } = pageAt({ eu: 5, us: 90 });
    await edges.ask("", never);
    await edges.measure("", never);
    expect(edges.better()).toBe(null);
  });

  it("stays where the nearest would not take it", async () => {
    const { edges } = pageAt({ eu: 90, us: 5 });
    await edges.ask("", never);
    await edges.measure("", never);
    edges.spurn("http://us1");
    expect(edges.better()).toBe(null);
  });
});
