import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { created, refused, TwinPeer, twinFetch } from "../shared/twin.ts";
import { type ReceivingPeer, WhepSession, type WhepOptions } from "./whep.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function setUp(reply: () => Response | Promise<Response> = created, change: Partial<WhepOptions> = {}) {
  const { fetch, asked } = twinFetch(reply);
  const tracks: unknown[] = [];
  const options: WhepOptions = {
    stream: "cup/cam1",
    format: "auto",
    token: "",
    iceServers: [],
    onTrack: (track) => tracks.push(track),
    ...change,
  };
  let peer!: TwinPeer;
  const session = new WhepSession(options, {
    fetch,
    newPeer: (configuration) => (peer = new TwinPeer(configuration)) as unknown as ReceivingPeer,
  });
  const stop = new AbortController();
  const outcome = { connected: false, error: null as unknown };
  const opened = session.open(stop.signal).then(
    () => void (outcome.connected = true),
    (error: unknown) => void (outcome.error = error),
  );
  return { session, peer, asked, stop, outcome, opened, tracks };
}

/** Lets everything run that waits for no timer. */
const settle = () => vi.advanceTimersByTimeAsync(0);

describe("the way to a connection", () => {
  it("offers, posts, answers, connects", async () => {
    const { session, peer, asked, outcome } = setUp();
    expect(session.state).toBe("offering");
    await settle();
    expect(asked).toHaveLength(0); // still gathering
    peer.gather();
    await settle();
    expect(asked[0]).toMatchObject({ method: "POST", url: "/whep/cup/cam1", body: "v=0 offer\r\n" });
    expect(peer.transceivers.map(({ what, init }) => [what, init?.direction])).toEqual([
      ["video", "recvonly"],
      ["audio", "recvonly"],
    ]);
    expect(session.state).toBe("connecting");
    expect(peer.remote?.type).toBe("answer");
    peer.become("connecting");
    peer.become("connected");
    await settle();
    expect(session.state).toBe("connected");
    expect(outcome.connected).toBe(true);
  });

  it("gathers no longer than 300 ms", async () => {
    const { asked } = setUp();
    await vi.advanceTimersByTimeAsync(299);
    expect(asked).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(asked).toHaveLength(1);
  });

  it("pins a format in the query, presents the token, uses the relays it was given", async () => {
    const iceServers = [{ urls: "turn:t.example.org" }];
    const { peer, asked } = setUp(created, { format: "720p", token: "sesame", iceServers });
    peer.gather();
    await settle();
    expect(asked[0]!.url).toBe("/whep/cup/cam1?format=720p");
    expect(asked[0]!.headers).toHaveProperty("Authorization", "Bearer sesame");
    expect(peer.configuration.iceServers).toEqual(iceServers);
  });

  it("hands tracks on as they come", async () => {
    const { peer, tracks } = setUp();
    await settle();
    peer.dispatchEvent(Object.assign(new Event("track"), { track: "video track" }));
    expect(tracks).toEqual(["video track"]);
  });
});

describe("failures on the way", () => {
  it.each([
    [
      () => refused(409, "Nobody publishes.", { "retry-after": "2" }),
      { cause: "not-live", detail: "Nobody publishes.", retryAfterMs: 2000 },
    ],
    [() => refused(401, "Token, please."), { cause: "unauthorized", detail: "Token, please." }],
    [() => refused(403, "Not yours."), { cause: "unauthorized" }],
    [() => refused(404, "Who?"), { cause: "unknown" }],
    [() => refused(406, "H.265."), { cause: "refused" }],
    [() => refused(503, "Busy.", { "retry-after": "1" }), { cause: "busy", retryAfterMs: 1000 }],
    [() => refused(503, "Full.", { "retry-after": "7" }, { cause: "full" }), { cause: "full", retryAfterMs: 7000 }],
    [() => Promise.reject(new TypeError("network")), { cause: "unreachable" }],
    [() => new Response("v=0\r\nm=video 0 X 96\r\n", { status: 201 }), { cause: "unsupported" }],
  ])("case %#", async (reply, failure) => {
    const { session, peer, outcome } = setUp(reply);
    peer.gather();
    await settle();
    expect(outcome.error).toMatchObject({ failure });
    expect(session.state).toBe("closed");
    expect(peer.closed).toBe(true);
  });

  it("calls the network blocked when ICE takes more than 4 s, and deletes the session", async () => {
    const { peer, asked, outcome } = setUp();
    peer.gather();
    await settle();
    await vi.advanceTimersByTimeAsync(3999);
    expect(outcome.error).toBeNull();
    await vi.advanceTimersByTimeAsync(1);
    expect(outcome.error).toMatchObject({ failure: { cause: "blocked" } });
    expect(asked.at(-1)).toMatchObject({
      method: "DELETE",
      url: expect.stringMatching(/\/sessions\/5$/) as string,
      keepalive: true,
    });
  });

  it("does not wait when ICE fails early", async () => {
    const { peer, outcome } = setUp();
    peer.gather();
    await settle();
    peer.become("failed");
    await settle();
    expect(outcome.error).toMatchObject({ failure: { cause: "blocked" } });
  });

  it("deletes a session whose answer came after the page had left", async () => {
    let respond!: (response: Response) => void;
    const { peer, asked, stop, session } = setUp(() => new Promise((resolve) => (respond = resolve)));
    peer.gather();
    await settle();
    stop.abort();
    respond(created());
    await settle();
    expect(session.state).toBe("closed");
    expect(asked.map(({ method }) => method)).toEqual(["POST", "DELETE"]);
  });
});

describe("a connected session", () => {
  async function connected() {
    const parts = setUp(() =>
      created({ link: '</sessions/5/layer>; rel="urn:ietf:params:whep:ext:core:layer"' }),
    );
    parts.peer.gather();
    await settle();
    parts.peer.become("connected");
    await settle();
    let reason: unknown = null;
    void parts.session.ended.then((failure) => (reason = failure));
    return { ...parts, reason: () => reason };
  }

  it("gives a broken path 3 s to heal", async () => {
    const { peer, reason } = await connected();
    peer.become("disconnected");
    await vi.advanceTimersByTimeAsync(2900);
    peer.become("connected");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(reason()).toBeNull();
    peer.become("disconnected");
    await vi.advanceTimersByTimeAsync(3000);
    expect(reason()).toMatchObject({ cause: "lost" });
  });

  it("ends at once when the connection fails", async () => {
    const { peer, reason } = await connected();
    peer.become("failed");
    await settle();
    expect(reason()).toMatchObject({ cause: "lost" });
  });

  it("switches the format over the layer resource", async () => {
    const { session, asked } = await connected();
    expect(await session.select("360p")).toBe(true);
    expect(asked.at(-1)).toMatchObject({ method: "POST", body: '{"format":"360p"}' });
    session.close();
    expect(await session.select("720p")).toBe(false);
  });

  it("is deleted once, however often it is closed, and says nothing afterwards", async () => {
    const { session, peer, asked, reason } = await connected();
    session.close();
    session.close();
    peer.become("failed");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(asked.filter(({ method }) => method === "DELETE")).toHaveLength(1);
    expect(reason()).toBeNull();
    expect(vi.getTimerCount()).toBe(0);
  });
});
