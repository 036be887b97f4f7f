import { expect, it } from "vitest";
import { describe as cardText } from "../landing/stream-card.tsx";
import { offered } from "../watch/renewal.ts";
import { asStream } from "./api.ts";
import { canCarry, codecName, formatDetail, videoFormats } from "./formats.ts";

/** What the server says between a publisher's coming and its first data. */
const early = asStream({
  name: "cup/cam1",
  live: true,
  viewers: 0,
  formats: [
    { name: "source", kind: "video", running: true, readers: 0, webrtc: false, hls: false },
    { name: "source", kind: "audio", codec: "", running: true, readers: 0, webrtc: false, hls: false },
  ],
});
const able = { webrtc: new Set(["h264", "opus"]), hls: new Set(["h264", "aac"]) };

it("a stream that is live before its codecs are known breaks nothing that reads it", () => {
  expect(early.formats.map(({ codec }) => codec)).toEqual([undefined, undefined]);
  expect(cardText(early)).toBe("");
  expect(early.formats.map(formatDetail)).toEqual(["", ""]);
  expect(codecName(undefined)).toBe("");
  expect(videoFormats(early.formats, "webrtc", able)).toEqual([]);
  expect(offered(early.formats, able).size).toBe(0);
});

it("a stream whose codecs are not known yet is worth a try by either transport", () => {
  expect([canCarry(early.formats, "webrtc", able), canCarry(early.formats, "hls", able)]).toEqual([true, true]);
});

it("what has not come yet is not said to be missing", () => {
  const [video, audio] = early.formats;
  expect(cardText({ ...early, formats: [{ ...video!, codec: "h264", height: 720 }, audio!] })).toBe("720p · H.264");
  expect(cardText({ ...early, formats: [video!] })).toBe("");
  expect(cardText({ ...early, formats: [{ ...video!, codec: "h264" }] })).toBe("H.264 · no sound");
});

it("leaves out formats without a name or a kind", () => {
  expect(asStream({ formats: [null, 7, { name: "x" }, { kind: "video" }, { name: "x", kind: "text" }] }).formats).toEqual([]);
});
