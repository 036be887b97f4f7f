import { describe, expect, it } from "vitest";
import { Comeback } from "./comeback.ts";

/** The waits before so many tries in a row that all fail, in seconds. */
function waits(comeback: Comeback, tries: number): number[] {
  return Array.from({ length: tries }, () => {
    let seconds = 0;
    while (!comeback.due(seconds * 1000)) seconds++;
    comeback.tried();
    return seconds;
  });
}

describe("a page that fell back to HLS", () => {
  it("hardly asks a network that never let WebRTC through", () => {
    expect(waits(new Comeback(), 4)).toEqual([60, 120, 240, 480]);
  });

  it("soon asks where WebRTC has played, and then less and less", () => {
    const comeback = new Comeback();
    comeback.flows(250);
    expect(waits(comeback, 5)).toEqual([10, 20, 40, 80, 160]);
    let tries = 0;
    const day = 24 * 60 * 60_000;
    for (let now = 0, since = 0; now < day; now += 1000) {
      if (!comeback.due(now - since)) continue;
      comeback.tried();
      since = now;
      tries++;
    }
    expect(tries).toBeLessThan(9);
  });

  it("does not soon trust a WebRTC that works for moments", () => {
    const comeback = new Comeback();
    comeback.flows(250);
    expect(waits(comeback, 2)).toEqual([10, 20]);
    comeback.flows(5000);
    expect(waits(comeback, 1)).toEqual([40]);
    comeback.flows(60_000);
    expect(waits(comeback, 1)).toEqual([10]);
  });

  it("counts anew once WebRTC has shown that it can work here", () => {
    const comeback = new Comeback();
    expect(waits(comeback, 3)).toEqual([60, 120, 240]);
    comeback.flows(250);
    expect(waits(comeback, 1)).toEqual([10]);
  });
});
