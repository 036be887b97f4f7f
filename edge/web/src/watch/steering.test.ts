import type Hls from "hls.js";
import { expect, it } from "vitest";
import { ofTheEdge, steadySteering } from "./steering.ts";

it("hears of networks, and not of media", () => {
  const heard: string[] = [];
  class Steering {
    onError(_: string, { type }: { type: string }) {
      heard.push(type);
    }
  }
  const library = {
    DefaultConfig: { contentSteeringController: Steering },
    ErrorTypes: { NETWORK_ERROR: "networkError" },
  } as unknown as typeof Hls;
  const Steady = steadySteering(library) as unknown as typeof Steering;
  for (const type of ["mediaError", "networkError", "muxError"]) new Steady().onError("hlsError", { type });
  expect(heard).toEqual(["networkError"]);
});

it("leaves an edge that cannot answer, not one that has not got something", () => {
  for (const status of [undefined, 0, 500, 503]) expect(ofTheEdge("networkError", "networkError", status)).toBe(true);
  for (const status of [400, 403, 404]) expect(ofTheEdge("networkError", "networkError", status)).toBe(false);
});

it("finds in the library what it changes", async () => {
  const { default: library } = await import("hls.js");
  const prototype = library.DefaultConfig.contentSteeringController?.prototype as unknown as Record<string, unknown>;
  expect(typeof prototype["onError"]).toBe("function");
});
