/** Small edits of session descriptions that browsers offer no setting for. */

/**
 * Asks for stereo Opus. Chromium decodes both channels only if the receiver's
 * description says `stereo=1` (RFC 7587 section 6.1).
 */
export function offerStereo(sdp: string): string {
  const payload = /^a=rtpmap:(\d+) opus\/48000/im.exec(sdp)?.[1];
  if (payload === undefined) return sdp;
  return sdp.replace(new RegExp(`^(a=fmtp:${payload} )(?!.*\\bstereo=)`, "m"), "$1stereo=1;");
}

/**
 * Lets a sender begin at a bit rate instead of climbing to it from 300 kb/s,
 * during which the first seconds of a broadcast are a blur. Chromium reads the
 * parameter from the remote description; other browsers ignore it.
 */
export function startBitrate(sdp: string, kilobitsPerSecond: number): string {
  const parameter = `x-google-start-bitrate=${Math.round(kilobitsPerSecond)}`;
  return sdp
    .split(/^(?=m=)/m)
    .map((section) => {
      if (!section.startsWith("m=video")) return section;
      return section
        .replace(
          /^a=rtpmap:(\d+) (?!rtx|red|ulpfec|flexfec)[^\r\n]+(\r?\n)/gim,
          (line, payload: string, end: string) =>
            new RegExp(`^a=fmtp:${payload} `, "m").test(section)
              ? line
              : `${line}a=fmtp:${payload} ${parameter}${end}`,
        )
        .replace(/^a=fmtp:\d+ (?!apt=|x-google-start)[^\r\n]*/gm, `$&;${parameter}`);
    })
    .join("");
}

/** The codecs that an answer accepted, lower case, `rtx` and the like left out. */
export function answeredCodecs(sdp: string): string[] {
  const auxiliary = new Set(["rtx", "red", "ulpfec", "flexfec-03", "cn", "telephone-event"]);
  const names = new Set<string>();
  for (const section of acceptedMedia(sdp)) {
    for (const [, name] of section.matchAll(/^a=rtpmap:\d+ ([^/\s]+)/gm)) {
      const codec = name!.toLowerCase();
      if (!auxiliary.has(codec)) names.add(codec);
    }
  }
  return [...names];
}

/** Whether the answering side will send media of a kind. */
export function answersWith(sdp: string, kind: "video" | "audio"): boolean {
  return acceptedMedia(sdp).some(
    (section) => section.startsWith(`${kind} `) && !/^a=(inactive|recvonly)\s*$/m.test(section),
  );
}

/** The media descriptions that were not rejected by a port of zero (RFC 8829 section 5.3.1), without their "m=". */
function acceptedMedia(sdp: string): string[] {
  return sdp
    .split(/^m=/m)
    .slice(1)
    .filter((section) => !/^\w+ 0 /.test(section));
}
