import { describe, expect, it } from "vitest";
import { type Cause, failure } from "./failure.ts";
import { afterFailure, firstTransport, type Situation, type Step } from "./policy.ts";

const both = new Set(["webrtc", "hls"] as const);
const usual: Situation = {
  pinned: null,
  usable: both,
  live: true,
  relaysUntried: false,
  failures: 1,
  played: false,
  token: "",
  missing: "",
};

function after(transport: "webrtc" | "hls", cause: Cause, change: Partial<Situation> = {}): Step {
  return afterFailure(transport, failure(cause, "Because."), { ...usual, ...change });
}

describe("firstTransport", () => {
  it("is WebRTC where that can work", () => {
    expect(firstTransport(usual)).toBe("webrtc");
    expect(firstTransport({ pinned: null, usable: new Set(["hls"]) })).toBe("hls");
    expect(firstTransport({ pinned: null, usable: new Set() })).toBe("webrtc"); // its failure has the better words
    expect(firstTransport({ pinned: "hls", usable: new Set(["webrtc"]) })).toBe("hls");
  });
});

describe("falling back", () => {
  it.each<Cause>(["blocked", "no-frames", "unsupported", "refused", "busy"])(
    "%s gives HLS its turn at once",
    (cause) => {
      expect(after("webrtc", cause)).toMatchObject({ transport: "hls", retry: "now", state: "connecting" });
    },
  );

  it.each<Cause>(["blocked", "no-frames", "busy"])("%s never overrules a person's choice", (cause) => {
    const step = after("webrtc", cause, { pinned: "webrtc" });
    expect(step).toMatchObject({ transport: "webrtc", retry: "backoff", state: "waiting" });
    expect(step.notice).not.toBeNull();
  });

  it("full waits for a place in words, whatever was chosen", () => {
    for (const change of [{}, { pinned: "webrtc" as const }, { usable: new Set(["webrtc"] as const) }]) {
      expect(after("webrtc", "full", change)).toMatchObject({
        transport: "webrtc",
        retry: "backoff",
        state: "waiting",
        notice: { title: "All places are taken" },
      });
    }
  });

  it("offers what there is in place of a format that is not", () => {
    const pinned = { pinned: "webrtc" as const, missing: "480p" };
    expect(after("webrtc", "refused", pinned).notice?.action).toBe("auto");
    expect(after("webrtc", "refused", { ...pinned, missing: "" }).notice?.action).toBe("retry");
  });

  it.each<Cause>(["unsupported", "refused"])("%s ends in words when there is no other way", (cause) => {
    for (const change of [{ pinned: "webrtc" as const }, { usable: new Set(["webrtc"] as const) }]) {
      expect(after("webrtc", cause, change)).toMatchObject({
        transport: "webrtc",
        retry: "never",
        state: "error",
        notice: { detail: "Because." },
      });
    }
  });

  it("tries relays before it gives WebRTC up", () => {
    expect(after("webrtc", "blocked", { relaysUntried: true })).toMatchObject({
      transport: "webrtc",
      retry: "now",
    });
  });

  it("slows down when neither transport works", () => {
    expect(after("hls", "no-frames", { failures: 2 })).toMatchObject({
      transport: "webrtc",
      retry: "backoff",
    });
  });

  it("hands back from HLS", () => {
    expect(after("hls", "unsupported")).toMatchObject({ transport: "webrtc", retry: "now" });
  });
});

describe("connections that worked", () => {
  it("are tried again at once, then with back-off, then the other way", () => {
    expect(after("webrtc", "lost", { failures: 1 })).toMatchObject({ transport: "webrtc", retry: "now" });
    expect(after("webrtc", "lost", { failures: 3 })).toMatchObject({ transport: "webrtc", retry: "backoff" });
    expect(after("webrtc", "stalled", { failures: 4 })).toMatchObject({ transport: "hls" });
  });
});

describe("an absent publisher", () => {
  it.each<Cause>(["no-frames", "lost", "stalled", "busy"])("explains %s", (cause) => {
    const step = after("hls", cause, { live: false, played: true });
    expect(step).toMatchObject({
      transport: "hls",
      state: "waiting",
      retry: "live",
      notice: { title: "The broadcaster is away" },
    });
  });

  it("is told apart from one who has not come yet", () => {
    expect(after("webrtc", "not-live")).toMatchObject({
      state: "waiting",
      retry: "live",
      notice: { title: "Not live yet" },
    });
    expect(after("webrtc", "not-live", { played: true }).notice?.title).toBe("The broadcaster is away");
    expect(after("webrtc", "unknown")).toMatchObject({ state: "waiting", retry: "live" });
  });

  it("does not hide that this browser cannot play the stream", () => {
    expect(after("webrtc", "unsupported", { live: false })).toMatchObject({ transport: "hls" });
  });
});

it("a missing token waits for the person, on either transport", () => {
  for (const transport of ["webrtc", "hls"] as const) {
    expect(after(transport, "unauthorized")).toMatchObject({
      transport,
      state: "error",
      retry: "never",
      notice: { action: "token", title: "A token is needed" },
    });
  }
});

it("a token that is not taken is told from one that is missing", () => {
  const refused = (status: number, token: string) =>
    afterFailure("webrtc", { ...failure("unauthorized", "Because."), status }, { ...usual, token }).notice
      ?.title;
  expect(refused(401, "sesame")).toBe("This token is not good");
  expect(refused(403, "sesame")).toBe("Another token is needed");
});

it("a server out of reach is waited for, not fled from", () => {
  expect(after("webrtc", "unreachable")).toMatchObject({
    transport: "webrtc",
    state: "waiting",
    retry: "backoff",
  });
});
