import { describe, expect, it } from "vitest";
import type Hls from "hls.js";
import { measuringLoader, type Progress } from "./loaders.ts";
import { Route } from "./route.ts";

/** As much of the library's loader as ours builds on. */
class Base {
  stats: { loaded: number; loading: { start: number; first: number; end: number } } | null = {
    loaded: 0,
    loading: { start: 0, first: 0, end: 0 },
  };
  callbacks: { onSuccess: (...args: unknown[]) => void } | null = null;
  load(_context: unknown, _config: unknown, callbacks: { onSuccess: (...args: unknown[]) => void }): void {
    this.callbacks = callbacks;
    this.stats!.loading.start = performance.now();
  }
  abort(): void {
    // nothing to take back
  }
  destroy(): void {
    this.abort();
    this.stats = null;
  }
}

function setUp(type: string) {
  const loads: number[][] = [];
  let going: () => Progress | null = () => null;
  const gauge = {
    begin: (load: () => Progress | null) => void (going = load),
    add: (...load: [number, number, number]) => void loads.push(load),
  };
  const Loader = measuringLoader({ DefaultConfig: { loader: Base } } as unknown as typeof Hls, gauge, new Route("http://localhost/"));
  const loader = new Loader({} as never) as unknown as Base;
  loader.load({ frag: { type } }, { loadPolicy: { errorRetry: null } }, { onSuccess: () => undefined });
  return { loader, loads, going: () => going() };
}

describe("measuring loader", () => {
  it("tells of a load under way, and once when it is over", () => {
    const { loader, loads, going } = setUp("main");
    loader.stats!.loaded = 1000;
    expect(going()).toMatchObject({ bytes: 1000 });
    Object.assign(loader.stats!.loading, { first: loader.stats!.loading.start + 10, end: loader.stats!.loading.start + 30 });
    loader.callbacks!.onSuccess({}, loader.stats, {}, {});
    loader.destroy();
    expect(loads).toEqual([[1000, expect.closeTo(30), expect.closeTo(10)]]);
    expect(going()).toBeNull();
  });

  it("counts a load that is given up, also when its loader is thrown away twice", () => {
    const { loader, loads, going } = setUp("main");
    loader.destroy();
    loader.abort();
    expect(loads).toHaveLength(1);
    expect(going()).toBeNull();
  });

  it("leaves sound out, which is too little to tell anything", () => {
    const { loader, loads, going } = setUp("audio");
    expect(going()).toBeNull();
    loader.destroy();
    expect(loads).toEqual([]);
  });
});
