import { describe, expect, it } from "vitest";
import { addressOf, patience } from "./loaders.ts";
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

describe("the address of a request", () => {
  const route = new Route("https://a.example.org/hls/cup/");
  const url = "https://a.example.org/hls/cup/7.mp4";

  it("is another one once it was refused", () => {
    expect(addressOf(url, {}, route)).toBe(url);
    expect(addressOf(url, { refused: 2 }, route)).toBe(`${url}?again=2`);
    expect(addressOf(`${url}?a=1`, { refused: 2 }, route)).toBe(`${url}?a=1&again=2`);
  });
});

it("finds in the library what it builds on", async () => {
  const { default: library } = await import("hls.js");
  const prototype = library.DefaultConfig.loader.prototype as unknown as Record<string, unknown>;
  for (const method of ["load", "abort", "destroy", "retry"]) expect(typeof prototype[method]).toBe("function");
});
