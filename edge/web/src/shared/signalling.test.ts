import { describe, expect, it } from "vitest";
import { iceServers, parseLinks, postLayer, postOffer } from "./signalling.ts";
import { created, refused, twinFetch } from "./twin.ts";

const layer = "urn:ietf:params:whep:ext:core:layer";

describe("parseLinks", () => {
  it("reads several links with quotes, commas and semicolons", () => {
    const links = parseLinks(
      `<stun:stun.example.org>; rel="ice-server", <turn:turn.example.org?transport=udp>; rel="ice-server"; username="a;b,c"; credential="p\\"w"; credential-type="password", </l>; rel="${layer}"`,
    );
    expect(links.map(({ target, rel }) => [target, rel])).toEqual([
      ["stun:stun.example.org", "ice-server"],
      ["turn:turn.example.org?transport=udp", "ice-server"],
      ["/l", layer],
    ]);
    expect(iceServers(links)).toEqual([
      { urls: "stun:stun.example.org" },
      { urls: "turn:turn.example.org?transport=udp", username: "a;b,c", credential: 'p"w' },
    ]);
  });

  it.each(["", "nonsense", "<", "<a", ";;;", '<a>; rel="', "<>".repeat(50)])("survives %j", (header) => {
    expect(() => parseLinks(header)).not.toThrow();
  });

  it("gives no ICE server of another scheme", () => {
    expect(iceServers(parseLinks('<javascript:x>; rel="ice-server", <https://x>; rel="ice-server"'))).toEqual(
      [],
    );
  });

  it("is quick on a hostile header", () => {
    // Linear work: a regular expression that backtracks would not return.
    parseLinks(`<a>${"; x=".repeat(20_000)}"`);
    parseLinks("<".repeat(20_000));
  });
});

describe("postOffer", () => {
  const signal = new AbortController().signal;

  it("resolves relative addresses and sends the token", async () => {
    const { fetch, asked } = twinFetch(() => created({ link: `<layers/5>; rel="${layer}"` }));
    const session = await postOffer(
      fetch,
      "http://edge.test/whep/cup/cam1?format=720p",
      "v=0",
      "sesame",
      signal,
    );
    expect(session).toMatchObject({
      url: "http://edge.test/sessions/5",
      etag: '"a"',
      layerUrl: "http://edge.test/whep/cup/layers/5",
    });
    expect(asked[0]).toMatchObject({
      method: "POST",
      body: "v=0",
      headers: { "Content-Type": "application/sdp", Authorization: "Bearer sesame" },
    });
  });

  it("sends no Authorization without a token", async () => {
    const { fetch, asked } = twinFetch(() => created());
    await postOffer(fetch, "/whep/a", "v=0", "", signal);
    expect(asked[0]!.headers).not.toHaveProperty("Authorization");
  });

  it("turns refusals and broken lines into problems", async () => {
    const busy = twinFetch(() => refused(503, "Full.", { "retry-after": "7" }));
    await expect(postOffer(busy.fetch, "/whep/a", "", "", signal)).rejects.toMatchObject({
      problem: { status: 503, detail: "Full.", retryAfterMs: 7000 },
    });
    const cut = twinFetch(() => Promise.reject(new TypeError("network")));
    await expect(postOffer(cut.fetch, "/whep/a", "", "", signal)).rejects.toMatchObject({
      problem: { status: 0 },
    });
    const odd = twinFetch(() => new Response("ok", { status: 200 })); // WHEP creates, or it is no WHEP
    await expect(postOffer(odd.fetch, "/whep/a", "", "", signal)).rejects.toMatchObject({
      problem: { status: 200 },
    });
  });
});

it("postLayer names the format as JSON", async () => {
  const { fetch, asked } = twinFetch(created);
  await postLayer(fetch, "/sessions/5/layer", "360p", "");
  expect(asked[0]).toMatchObject({
    method: "POST",
    body: '{"format":"360p"}',
    headers: { "Content-Type": "application/json" },
  });
});
