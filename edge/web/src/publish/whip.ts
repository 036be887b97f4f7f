/**
 * A WHIP session (RFC 9725): from a camera or screen to a stream that is live.
 *
 * Like a WHEP session it is used once; publisher.ts makes another when this
 * one ends. H.264 is offered first, because every viewer and every transcoder
 * takes it as it is.
 */

import { connected, type Peer, watchForLoss } from "../shared/connection.ts";
import { type Problem, ProblemError } from "../shared/problem.ts";
import { startBitrate } from "../shared/sdp.ts";
import { deleteSession, type Fetch, gathered, postOffer, type Session, whyEnded } from "../shared/signalling.ts";

export interface SendingEnvironment {
  fetch: Fetch;
  newPeer(configuration: RTCConfiguration): Peer;
  /** Codecs this browser can send, most wanted first. */
  videoCodecs(): RTCRtpCodec[];
}

export const browserEnvironment: SendingEnvironment = {
  fetch: (input, init) => fetch(input, init),
  newPeer: (configuration) => new RTCPeerConnection(configuration),
  videoCodecs: () => h264First(RTCRtpSender.getCapabilities("video")?.codecs ?? []),
};

export interface WhipOptions {
  stream: string;
  token: string;
  media: MediaStream;
  /** Ceiling for the video, bits per second. */
  maxBitrate: number;
  iceServers: RTCIceServer[];
}

const gatherMs = 300;
/** A broadcast begins at this share of its ceiling, and finds the line's capacity from there. */
const startShare = 0.6;
const connectMs = 8000;
const healMs = 4000;
/** Causes of an end that coming back would only repeat, or take the name from somebody else. */
const dismissals: ReadonlySet<string> = new Set(["taken-over", "kicked", "expired"]);

export class WhipSession {
  session: Session | null = null;
  readonly peer: Peer;
  /** Resolves with a sentence when the session ends by anything but close(). */
  readonly ended: Promise<string>;
  private end!: (reason: string) => void;
  private unwatch: () => void = () => undefined;
  /** One of those that share the connection. */
  private sender: RTCRtpSender | undefined;
  private closed = false;
  /** The server has ended the session, and said so. */
  private dismissed = false;

  constructor(
    private readonly options: WhipOptions,
    private readonly environment: SendingEnvironment = browserEnvironment,
  ) {
    this.ended = new Promise((resolve) => (this.end = resolve));
    this.peer = environment.newPeer({ bundlePolicy: "max-bundle", iceServers: options.iceServers });
  }

  /** Resolves when the server receives. Rejects with ProblemError or Error, having closed the session. */
  async open(signal: AbortSignal): Promise<void> {
    const { peer, options, environment } = this;
    try {
      signal.throwIfAborted();
      for (const track of options.media.getTracks()) this.add(track);
      await peer.setLocalDescription(await peer.createOffer());
      await gathered(peer, gatherMs);
      this.session = await postOffer(
        environment.fetch,
        `/whip/${options.stream}`,
        peer.localDescription?.sdp ?? "",
        options.token,
        signal,
      );
      signal.throwIfAborted();
      const begin = (options.maxBitrate * startShare) / 1000;
      await peer.setRemoteDescription({ type: "answer", sdp: startBitrate(this.session.answer, begin) });
      await connected(peer, connectMs, signal);
    } catch (error) {
      this.close();
      throw error;
    }
    this.unwatch = watchForLoss(peer, healMs, () => this.end("The connection broke."), this.sender?.transport);
  }

  /** Once it has ended: why the server has sent this publisher away; null where it did not. Never rejects. */
  async dismissal(signal: AbortSignal): Promise<Problem | null> {
    const why = await whyEnded(this.environment.fetch, this.session?.url ?? "", this.options.token, signal);
    if (why === null || !dismissals.has(why.cause ?? "")) return null;
    this.dismissed = true;
    return why;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.unwatch();
    this.peer.close();
    if (!this.dismissed) deleteSession(this.environment.fetch, this.session?.url ?? "", this.options.token);
  }

  private add(track: MediaStreamTrack): void {
    const video = track.kind === "video";
    const transceiver: RTCRtpTransceiver = this.peer.addTransceiver(track, {
      direction: "sendonly",
      streams: [this.options.media],
      ...(video ? { sendEncodings: [{ maxBitrate: this.options.maxBitrate }] } : {}),
    });
    this.sender ??= transceiver.sender;
    if (!video) return;
    const codecs = this.environment.videoCodecs();
    if (codecs.length > 0) transceiver.setCodecPreferences(codecs);
  }
}

/**
 * H.264 in front, constrained baseline and packetization mode 1 before its
 * other profiles: that is what every receiver decodes.
 */
export function h264First(codecs: readonly RTCRtpCodec[]): RTCRtpCodec[] {
  const rank = ({ mimeType, sdpFmtpLine = "" }: RTCRtpCodec) => {
    if (mimeType.toLowerCase() !== "video/h264") return 3;
    if (!sdpFmtpLine.includes("packetization-mode=1")) return 2;
    return /profile-level-id=42e0/i.test(sdpFmtpLine) ? 0 : 1;
  };
  return [...codecs].sort((a, b) => rank(a) - rank(b));
}

/** Whether trying again by itself could help. */
export function worthRetrying(error: unknown): boolean {
  if (!(error instanceof ProblemError)) return true;
  const { status } = error.problem;
  // 409: the name is taken, perhaps by our own session that has yet to time out.
  return status === 0 || status === 409 || status === 429 || status >= 500;
}
