/** A silent try of WebRTC, to learn whether it works by now. */

import { pause } from "../shared/backoff.ts";
import { WhepSession, type WhepOptions } from "./whep.ts";

/** Longer than a page without a picture would wait: nobody misses anything meanwhile. */
const firstFrameMs = 6000;
const lookMs = 200;

/** Opens a session that nobody sees, and tells whether it decoded a frame. Never rejects. */
export async function webrtcWorks(
  options: Omit<WhepOptions, "onTrack">,
  signal: AbortSignal,
): Promise<boolean> {
  let session: WhepSession | null = null;
  try {
    session = new WhepSession({ ...options, onTrack: () => undefined });
    await session.open(signal);
    for (let waited = 0; waited < firstFrameMs && !signal.aborted; waited += lookMs) {
      await pause(lookMs, signal);
      if (await decoded(session)) return true;
    }
    return false;
  } catch {
    return false;
  } finally {
    session?.close();
  }
}

async function decoded(session: WhepSession): Promise<boolean> {
  let frames = 0;
  (await session.peer.getStats()).forEach((stat: { type: string; framesDecoded?: number }) => {
    if (stat.type === "inbound-rtp") frames += stat.framesDecoded ?? 0;
  });
  return frames > 0;
}
