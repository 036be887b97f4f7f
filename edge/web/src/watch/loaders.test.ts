import { describe, expect, it } from "vitest";
import type { LoaderConfiguration } from "hls.js";
import { patience, rerouted } from "./loaders.ts";
import { Route } from "./route.ts";

const levelOrTrack = { details: { targetduration: 2 } };

describe("patience", () => {
  it("waits for a blocking request as long as the server holds it back", () => {
    expect(patience({ deliveryDirectives: { msn: 7 }, levelOrTrack }, 1600)).toBeGreaterThan(3 * 2000);
  });

  it("leaves every other request alone", () => {
    expect(patience({ deliveryDirectives: null, levelOrTrack }, 1600)).toBe(1600);
    expect(patience({ deliveryDirectives: {}, levelOrTrack }, 1600)).toBe(1600);
    expect(patience({ deliveryDirectives: { msn: 7 }, levelOrTrack: { details: null } }, 1600)).toBe(1600);
    expect(patience({ deliveryDirectives: { msn: 7 }, levelOrTrack: null }, 1600)).toBe(1600);
  });
});

describe("a request that fails", () => {
  const [old, next] = ["https://a.example.org/hls/cup/", "https://b.example.org/hls/cup/"];
  const none = { loadPolicy: { errorRetry: null, timeoutRetry: null } } as unknown as LoaderConfiguration;
  const again = (config: LoaderConfiguration, code = 503, retries = 0) =>
    config.loadPolicy.errorRetry?.shouldRetry?.({} as never, retries, false, { url: "", data: undefined, code }, false) ?? false;

  it("is made once more where its edge was left meanwhile", () => {
    const route = new Route(old);
    const config = rerouted(none, old + "source-video/7.mp4", route);
    expect(again(config)).toBe(false);
    route.lead(next);
    expect(again(config)).toBe(true);
    expect(again(config, 503, 1)).toBe(false);
  });

  it("goes to another edge where nobody answers", () => {
    const route = new Route(old, () => next);
    const url = old + "source-video/7.mp4";
    const config = rerouted(none, url, route);
    expect(again(config, 404)).toBe(false);
    expect(again(config, 0)).toBe(true);
    expect(route.of(url)).toBe(next + "source-video/7.mp4");
    expect(again(rerouted(none, url, new Route(old)), 0)).toBe(false); // there is none
  });

  it("is hls.js's to make again where it has a policy", () => {
    const errorRetry = { maxNumRetry: 8, retryDelayMs: 100, maxRetryDelayMs: 8000 };
    const config = { loadPolicy: { errorRetry } } as unknown as LoaderConfiguration;
    expect(rerouted(config, old, new Route(old))).toBe(config);
  });
});
