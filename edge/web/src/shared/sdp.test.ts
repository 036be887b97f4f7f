import { describe, expect, it } from "vitest";
import { answeredCodecs, answersWith, offerStereo, startBitrate } from "./sdp.ts";

const sdp = [
  "v=0",
  "m=audio 9 UDP/TLS/RTP/SAVPF 111",
  "a=rtpmap:111 opus/48000/2",
  "a=fmtp:111 minptime=10;useinbandfec=1",
  "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98",
  "a=rtpmap:96 H264/90000",
  "a=fmtp:96 packetization-mode=1;profile-level-id=42e01f",
  "a=rtpmap:97 rtx/90000",
  "a=fmtp:97 apt=96",
  "a=rtpmap:98 VP8/90000",
  "",
].join("\r\n");

describe("offerStereo", () => {
  it("adds the parameter once, to Opus alone", () => {
    const edited = offerStereo(sdp);
    expect(edited).toContain("a=fmtp:111 stereo=1;minptime=10;useinbandfec=1\r\n");
    expect(edited.match(/stereo=1/g)).toHaveLength(1);
    expect(offerStereo(edited)).toBe(edited);
  });

  it("leaves a description without Opus alone", () => {
    expect(offerStereo("v=0\r\n")).toBe("v=0\r\n");
  });
});

describe("startBitrate", () => {
  it("marks video codecs and spares retransmission and audio", () => {
    const edited = startBitrate(sdp, 1500);
    expect(edited).toContain(
      "a=fmtp:96 packetization-mode=1;profile-level-id=42e01f;x-google-start-bitrate=1500\r\n",
    );
    expect(edited).toContain("a=fmtp:97 apt=96\r\n");
    expect(edited).toContain("a=rtpmap:98 VP8/90000\r\na=fmtp:98 x-google-start-bitrate=1500\r\n");
    expect(edited.match(/start-bitrate/g)).toHaveLength(2);
  });
});

describe("answeredCodecs", () => {
  it("lists what was accepted", () => {
    expect(answeredCodecs(sdp)).toEqual(["opus", "h264", "vp8"]);
  });

  it("skips rejected media", () => {
    expect(answeredCodecs("v=0\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 H264/90000\r\n")).toEqual([]);
  });
});

describe("answersWith", () => {
  it("knows media that will not come", () => {
    expect([answersWith(sdp, "video"), answersWith(sdp, "audio")]).toEqual([true, true]);
    expect(answersWith("v=0\r\nm=audio 9 X 111\r\n", "video")).toBe(false);
    expect(answersWith("v=0\r\nm=video 0 X 96\r\n", "video")).toBe(false);
    expect(answersWith("v=0\r\nm=video 9 X 96\r\na=inactive\r\n", "video")).toBe(false);
  });
});
