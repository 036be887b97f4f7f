import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { created, refused, TwinPeer } from "../shared/twin.ts";
import { Player, type Wish } from "./player.ts";

/** How far the server's clock is ahead of this device's, in milliseconds. */
const ahead = 3_600_000;
const serverNow = () => Date.now() + ahead;
/** Milliseconds between the epochs of NTP and Unix. */
const ntp = 2_208_988_800_000;

/** What is on the screen: its media time, in milliseconds, and how far from the edge of the playlist hls.js thinks that is. */
const screen = { mediaTime: () => 0, edgeLatency: 0.7 };

vi.mock("hls.js", () => ({
  /** Plays at once, whatever it is told to. */
  default: class extends EventTarget {
    static isSupported = () => true;
    static Events = { ERROR: "e", FRAG_LOADED: "l", FRAG_BUFFERED: "b", MANIFEST_PARSED: "m" };
    static DefaultConfig = { loader: class {} };
    readonly levels = [];
    readonly audioTracks = [];
    readonly currentLevel = -1;
    readonly latestLevelDetails = null;
    readonly targetLatency = 0.66;
    filling: ReturnType<typeof setInterval> | undefined;
    on = (event: string, buffered: (event: string, data: unknown) => void) => {
      if (event !== "b") return;
      const frag = () => ({
        type: "main",
        level: 0,
        programDateTime: screen.mediaTime(),
        elementaryStreams: { video: { startPTS: 0, endPTS: 2 } },
      });
      this.filling = setInterval(() => buffered(event, { frag: frag(), part: null }), 10);
    };
    once = (_: string, parsed: () => void) => void setTimeout(parsed);
    loadSource = () => undefined;
    attachMedia = () => undefined;
    startLoad = () => undefined;
    destroy = () => clearInterval(this.filling);
    get latency() {
      return screen.edgeLatency;
    }
  },
}));

/** The pictures that WebRTC brings, one each 33 ms; none come while the encoder is dead. */
const encoder = {
  diedAt: null as number | null,
  count() {
    const alive = Math.floor(performance.now() * 0.03);
    return this.diedAt === null ? alive : Math.floor(this.diedAt * 0.03);
  },
};

/** A connection to a server that is 40 ms away, with a picture that comes 30 times a second. */
class NearPeer extends TwinPeer {
  private readonly before = encoder.count();
  override setLocalDescription(description?: RTCLocalSessionDescriptionInit): Promise<void> {
    setTimeout(() => this.gather());
    return super.setLocalDescription(description);
  }
  override setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void> {
    setTimeout(() => this.become("connected"));
    return super.setRemoteDescription(description);
  }
  override getStats = (): Promise<RTCStatsReport> => {
    const frames = encoder.count() - this.before;
    const stats = [
      { id: "p", type: "candidate-pair", nominated: true, currentRoundTripTime: 0.04 },
      {
        id: "v",
        type: "inbound-rtp",
        kind: "video",
        framesDecoded: frames,
        packetsReceived: frames,
        jitterBufferDelay: frames * 0.03,
        jitterBufferEmittedCount: frames,
        totalDecodeTime: frames * 0.002,
        estimatedPlayoutTimestamp: screen.mediaTime() + ntp,
      },
    ];
    return Promise.resolve(new Map(stats.map((stat) => [stat.id, stat])) as unknown as RTCStatsReport);
  };
}

function element() {
  const video = Object.assign(new EventTarget(), {
    volume: 1,
    muted: false,
    paused: false,
    videoWidth: 1280,
    videoHeight: 720,
    currentTime: 0,
    playbackRate: 1,
    play: () => Promise.resolve(),
    removeAttribute: () => undefined,
    getVideoPlaybackQuality: () => ({ totalVideoFrames: Math.floor(performance.now() * 0.03), droppedVideoFrames: 0 }),
  });
  return video as unknown as HTMLVideoElement;
}

/** A page at a server that wants the token it knows, "sesame", for everything but a ping. */
function open({
  token = "",
  transport = "auto" as Wish["transport"],
  live = (): boolean => true,
  knows = (): string => "sesame",
} = {}) {
  const asked: { what: string; refused: boolean }[] = [];
  vi.stubGlobal("fetch", (url: string, { method = "GET", headers }: RequestInit = {}) => {
    const ping = url.endsWith("/api/v1/ping");
    const known = new Headers(headers).get("Authorization") === `Bearer ${knows()}`;
    asked.push({ what: `${method} ${url}`, refused: !ping && !known });
    if (ping) return Promise.resolve(new Response(null, { status: 204, headers: { "Banyan-Time": String(serverNow()) } }));
    if (!known) return Promise.resolve(refused(401, "Send a token."));
    if (method === "POST") return Promise.resolve(created());
    return Promise.resolve(Response.json(url.includes("/edges/") ? { edges: [] } : { name: "cup/cam1", live: live(), viewers: 1 }));
  });
  const player = new Player("cup/cam1", element(), { keep: () => undefined, drop: () => undefined }, token, {
    transport,
    format: "auto",
  });
  player.start();
  return { player, asked };
}

let page: EventTarget & { hidden: boolean };

beforeEach(() => {
  vi.useFakeTimers();
  page = Object.assign(new EventTarget(), { hidden: false, createElement: () => ({ canPlayType: () => "" }) });
  vi.stubGlobal("document", page);
  vi.stubGlobal("RTCPeerConnection", NearPeer);
  vi.stubGlobal("MediaStream", class {});
  vi.spyOn(console, "info").mockReturnValue(undefined);
});
afterEach(() => {
  encoder.diedAt = null;
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe("a page that waits for a token", () => {
  it.each([
    { name: "in sight", hidden: false },
    { name: "opened in the background", hidden: true },
  ])("asks for nothing that can only be refused, $name", async ({ hidden }) => {
    page.hidden = hidden;
    const { player, asked } = open();
    await vi.advanceTimersByTimeAsync(1000);
    expect(player.notice.value?.action).toBe("token");
    expect(asked.filter(({ refused }) => refused).length).toBeLessThanOrEqual(3); // each question once
    asked.length = 0;
    await vi.advanceTimersByTimeAsync(600_000);
    expect(asked.filter(({ refused }) => refused)).toEqual([]);

    page.hidden = false;
    page.dispatchEvent(new Event("visibilitychange"));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(asked.filter(({ refused }) => refused)).toEqual([]);

    player.useToken("sesame");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(player.state.value).toBe("playing");
    expect(player.live.value).toBe(true);
    expect(asked.filter(({ refused }) => refused)).toEqual([]);
    expect(new Set(asked.map(({ what }) => what))).toContain("GET /api/v1/edges/cup/cam1");
    player.stop();
  });
});

describe("a token that was turned down", () => {
  it("is tried once more when a person brings it again", async () => {
    let known = "another";
    const { player } = open({ token: "sesame", knows: () => known });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(player.notice.value?.action).toBe("token");
    known = "sesame"; // the server has its secret back
    await vi.advanceTimersByTimeAsync(60_000);
    expect(player.notice.value?.action).toBe("token");
    player.useToken("sesame");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(player.state.value).toBe("playing");
    expect(player.live.value).toBe(true);
    player.stop();
  });
});

describe("the live delay that is shown", () => {
  // An encoder in between that is 2 s late: the way from the server, the buffer and the distance to the edge are short.
  it.each(["webrtc", "hls"] as const)("is the whole way since ingest, by %s", async (transport) => {
    screen.mediaTime = () => serverNow() - 2900;
    const { player } = open({ token: "sesame", transport });
    await vi.advanceTimersByTimeAsync(1000);
    await vi.dynamicImportSettled(); // of the HLS player
    await vi.advanceTimersByTimeAsync(5000);
    expect(player.transport.value).toBe(transport);
    expect(Math.abs(player.delayMs.value! - 2900)).toBeLessThanOrEqual(10);

    screen.mediaTime = () => serverNow() - 6000; // it falls behind
    await vi.advanceTimersByTimeAsync(1000);
    expect(Math.abs(player.delayMs.value! - 6000)).toBeLessThanOrEqual(10);
    player.stop();
  });
});

async function fallsBack(player: Player) {
  for (let i = 0; i < 40 && player.transport.value !== "hls"; i++) {
    await vi.advanceTimersByTimeAsync(1000);
    await vi.dynamicImportSettled(); // of the HLS player
  }
  expect(player.transport.value).toBe("hls");
}

describe("a page that plays by WebRTC and whose encoder is killed", () => {
  beforeEach(() => {
    vi.stubGlobal("RTCRtpReceiver", { getCapabilities: () => ({ codecs: [{ mimeType: "video/H264" }] }) });
    vi.stubGlobal("MediaSource", { isTypeSupported: () => true });
  });

  it("plays by HLS, and asks less and less while the encoder stays dead", async () => {
    const { player, asked } = open({ token: "sesame" });
    await vi.advanceTimersByTimeAsync(5000);
    expect(player.transport.value).toBe("webrtc");
    encoder.diedAt = performance.now();
    await fallsBack(player);
    expect(player.fallbackReason.value).not.toBe("");

    asked.length = 0;
    await vi.advanceTimersByTimeAsync(300_000); // it stays dead: asked less and less, and the picture is not given up
    expect(player.transport.value).toBe("hls");
    const tries = asked.filter(({ what }) => what.startsWith("POST")).length;
    expect(tries).toBeGreaterThan(2);
    expect(tries).toBeLessThan(6);
    player.stop();
  });

  it("is back by WebRTC within seconds where the encoder is", async () => {
    const { player } = open({ token: "sesame" });
    await vi.advanceTimersByTimeAsync(5000);
    encoder.diedAt = performance.now();
    await fallsBack(player);
    encoder.diedAt = null;
    await vi.advanceTimersByTimeAsync(15_000);
    expect(player.transport.value).toBe("webrtc");
    expect(player.state.value).toBe("playing");
    expect(player.fallbackReason.value).toBe("");
    player.stop();
  });
});

describe("a page whose stream is not live", () => {
  it("asks for no media until the API says that it is", async () => {
    let live = false;
    const { player, asked } = open({ token: "sesame", live: () => live });
    await vi.advanceTimersByTimeAsync(1000);
    asked.length = 0; // it may have opened a session before the API had answered
    player.again();
    await vi.advanceTimersByTimeAsync(30_000);
    expect(player.state.value).toBe("waiting");
    expect(asked.filter(({ what }) => what.startsWith("POST"))).toEqual([]);
    live = true;
    await vi.advanceTimersByTimeAsync(3000);
    expect(player.state.value).toBe("playing");
    player.stop();
  });
});
