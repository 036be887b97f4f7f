import { describe, expect, it } from "vitest";
import { patience } from "./loaders.ts";

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
