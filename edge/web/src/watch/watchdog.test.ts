import { describe, expect, it } from "vitest";
import { Watchdog } from "./watchdog.ts";

const limits = { firstMs: 4000, slowMs: 1500, deadMs: 8000 };

describe("Watchdog", () => {
  it("waits for the first progress so long", () => {
    const dog = new Watchdog(limits, 0);
    expect(dog.observe(0, 0, false)).toBe("starting");
    expect(dog.observe(4000, 0, false)).toBe("starting");
    expect(dog.observe(4001, 0, false)).toBe("never-started");
  });

  it("tells flowing from slow from dead", () => {
    const dog = new Watchdog(limits, 0);
    expect(dog.observe(100, 5, false)).toBe("flowing");
    expect(dog.observe(1600, 5, false)).toBe("flowing");
    expect(dog.observe(1601, 5, false)).toBe("slow");
    expect(dog.observe(8100, 5, false)).toBe("slow");
    expect(dog.observe(8101, 5, false)).toBe("dead");
    expect(dog.observe(8200, 6, false)).toBe("flowing");
  });

  it("takes a reset counter for progress", () => {
    const dog = new Watchdog(limits, 0);
    dog.observe(0, 500, false);
    expect(dog.observe(3000, 2, false)).toBe("flowing");
  });

  it("forgives silence that is excused, and counts anew afterwards", () => {
    const dog = new Watchdog(limits, 0);
    dog.observe(0, 5, false);
    for (let at = 1000; at <= 60_000; at += 1000)
      expect(dog.observe(at, 5, true)).toBe(at > 1500 ? "slow" : "flowing");
    expect(dog.observe(61_000, 5, false)).toBe("slow");
    expect(dog.observe(66_400, 5, false)).toBe("slow"); // 8 s after the excuse ended, less the 1.5 s of being slow
    expect(dog.observe(66_600, 5, false)).toBe("dead");
  });

  it("does not give up on a start that is excused", () => {
    const dog = new Watchdog(limits, 0);
    expect(dog.observe(20_000, 0, true)).toBe("starting");
    expect(dog.observe(20_250, 0, false)).toBe("starting");
  });
});
