import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Peer } from "../shared/connection.ts";
import { ProblemError } from "../shared/problem.ts";
import { created, refused, TwinPeer, twinFetch } from "../shared/twin.ts";
import { h264First, WhipSession, worthRetrying } from "./whip.ts";

const codec = (mimeType: string, sdpFmtpLine = ""): RTCRtpCodec => ({
  mimeType,
  clockRate: 90000,
  sdpFmtpLine,
});
const vp8 = codec("video/VP8");
const main = codec("video/H264", "packetization-mode=1;profile-level-id=4d001f");
const baseline = codec(
  "video/H264",
  "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
);
const single = codec("video/H264", "packetization-mode=0;profile-level-id=42e01f");

it("h264First puts what every receiver decodes in front and loses nothing", () => {
  expect(h264First([vp8, single, main, baseline])).toEqual([baseline, main, single, vp8]);
});

describe("WhipSession", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const settle = () => vi.advanceTimersByTimeAsync(0);

  function setUp(reply: () => Response = created) {
    let answered: (() => Response | Promise<Response>) | undefined;
    const { fetch, asked } = twinFetch(reply, () => answered?.() ?? new Response(null));
    const media = { getTracks: () => [{ kind: "video" }, { kind: "audio" }] } as unknown as MediaStream;
    let peer!: TwinPeer;
    const session = new WhipSession(
      { stream: "cup/cam1", token: "sesame", media, maxBitrate: 2_000_000, iceServers: [] },
      {
        fetch,
        newPeer: (configuration) => (peer = new TwinPeer(configuration)) as unknown as Peer,
        videoCodecs: () => [baseline, vp8],
      },
    );
    const opened = session.open(new AbortController().signal);
    opened.catch(() => undefined);
    const answer = (what: typeof answered) => void (answered = what);
    return { session, peer, asked, opened, answer };
  }

  it("sends each track once, H.264 first, under the ceiling", async () => {
    const { session, peer, asked, opened } = setUp();
    peer.gather();
    await settle();
    expect(asked[0]).toMatchObject({
      method: "POST",
      url: "/whip/cup/cam1",
      headers: { Authorization: "Bearer sesame" },
    });
    expect(peer.transceivers.map(({ init }) => init?.direction)).toEqual(["sendonly", "sendonly"]);
    expect(peer.transceivers[0]!.preferred[0]).toEqual(baseline);
    expect(peer.transceivers[0]!.init?.sendEncodings).toEqual([{ maxBitrate: 2_000_000 }]);
    expect(peer.remote?.sdp).toContain("x-google-start-bitrate=1200");
    peer.become("connected");
    await opened;
    session.close();
    session.close();
    expect(asked.filter(({ method }) => method === "DELETE")).toHaveLength(1);
  });

  it("ends when the connection stays broken for 4 s, not before", async () => {
    const { session, peer, opened } = setUp();
    peer.gather();
    await settle();
    peer.become("connected");
    await opened;
    const ended = vi.fn();
    void session.ended.then(ended);
    peer.become("disconnected");
    await vi.advanceTimersByTimeAsync(3900);
    peer.become("connected");
    await vi.advanceTimersByTimeAsync(4100);
    expect(ended).not.toHaveBeenCalled();
    peer.become("disconnected");
    await vi.advanceTimersByTimeAsync(4000);
    expect(ended).toHaveBeenCalledWith("The connection broke.");
  });

  it("ends at once when the server closes the connection, before ICE misses it", async () => {
    const { session, peer, opened } = setUp();
    peer.gather();
    await settle();
    peer.become("connected");
    await opened;
    peer.secured.state = "closed";
    peer.secured.dispatchEvent(new Event("statechange"));
    expect(await session.ended).toBe("The connection broke.");
  });

  it("asks the server why it ended, and deletes no session that it was sent away from", async () => {
    const { session, peer, asked, opened, answer } = setUp();
    peer.gather();
    await settle();
    peer.become("connected");
    await opened;
    const never = new AbortController().signal;
    for (const [status, cause, want] of [
      [404, undefined, null],
      [410, "lost", null],
      [410, "taken-over", "Somebody else is live."],
    ] as const) {
      answer(() => refused(status, "Somebody else is live.", {}, { cause }));
      expect((await session.dismissal(never))?.detail ?? null).toBe(want);
    }
    answer(() => Promise.reject(new TypeError("offline")));
    expect(await session.dismissal(never)).toBeNull();
    expect(asked.at(-1)).toMatchObject({ method: "GET", headers: { Authorization: "Bearer sesame" } });
    expect(asked.at(-1)!.url).toMatch(/\/sessions\/5$/);
    session.close();
    expect(asked.filter(({ method }) => method === "DELETE")).toHaveLength(0);
  });

  it("says so when the media path does not come about", async () => {
    const { peer, opened, asked } = setUp();
    peer.gather();
    await vi.advanceTimersByTimeAsync(8000);
    await expect(opened).rejects.toThrow("UDP");
    expect(asked.at(-1)!.method).toBe("DELETE");
  });

  it("passes the server's refusal on", async () => {
    const { peer, opened } = setUp(() => refused(401, "Bring a token."));
    peer.gather();
    await settle();
    await expect(opened).rejects.toThrow("Bring a token.");
    expect(peer.closed).toBe(true);
  });
});

it("only what can mend itself is tried again", () => {
  const answered = (status: number) => new ProblemError({ status, title: "", detail: "", retryAfterMs: 0 });
  expect([0, 409, 429, 500, 503].map((status) => worthRetrying(answered(status)))).toEqual([
    true,
    true,
    true,
    true,
    true,
  ]);
  expect([400, 401, 403, 404, 410, 415].map((status) => worthRetrying(answered(status)))).toEqual([
    false,
    false,
    false,
    false,
    false,
    false,
  ]);
  expect(worthRetrying(new Error("The connection broke."))).toBe(true);
});
