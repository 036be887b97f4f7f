/**
 * A WHEP session: from an offer to media that flows.
 *
 *   idle → offering → connecting → connected → closed
 *
 * `offering` makes the offer, gathers for a moment and posts it; `connecting`
 * waits for ICE and DTLS; `connected` lasts until the connection breaks or
 * `close` is called. A session is used once: reconnecting makes a new one.
 *
 * It does not decide what to do about a failure (policy.ts), nor touch the
 * page. The network comes in through Environment, so that tests bring theirs.
 */

import { BlockedError, connected, type Peer, watchForLoss } from "../shared/connection.ts";
import { ProblemError } from "../shared/problem.ts";
import { offerStereo, answeredCodecs } from "../shared/sdp.ts";
import {
  deleteSession,
  gathered,
  postLayer,
  postOffer,
  type Fetch,
  type Session,
} from "../shared/signalling.ts";
import { type Failure, failure, failureOf, PlaybackError } from "./failure.ts";

/** The part of RTCPeerConnection that a session uses. */
export type ReceivingPeer = Peer & Pick<RTCPeerConnection, "getReceivers">;

export interface Environment {
  fetch: Fetch;
  newPeer(configuration: RTCConfiguration): ReceivingPeer;
}

export const browserEnvironment: Environment = {
  fetch: (input, init) => fetch(input, init),
  newPeer: (configuration) => new RTCPeerConnection(configuration),
};

export interface WhepOptions {
  stream: string;
  /** A format's name, or "auto". */
  format: string;
  token: string;
  /** Where a path of the server is. If left out, at the page's own origin. */
  address?(path: string): string;
  iceServers: RTCIceServer[];
  onTrack(track: MediaStreamTrack): void;
}

export type WhepState = "idle" | "offering" | "connecting" | "connected" | "closed";

/** Candidates that are late need not be waited for: the server takes our checks from wherever they come. */
const gatherMs = 300;
/** ICE over a path that works takes a few round trips; past this the path is blocked. */
const connectMs = 4000;
/** A broken path is given up past this. */
const healMs = 3000;

export class WhepSession {
  state: WhepState = "idle";
  /** What the server said in its answer; null before it came. */
  session: Session | null = null;
  readonly peer: ReceivingPeer;
  /** Resolves with the reason when the session ends by anything but close(). */
  readonly ended: Promise<Failure>;
  private end!: (reason: Failure) => void;
  private unwatch: () => void = () => undefined;

  constructor(
    private readonly options: WhepOptions,
    private readonly environment: Environment = browserEnvironment,
  ) {
    this.ended = new Promise((resolve) => (this.end = resolve));
    this.peer = environment.newPeer({
      bundlePolicy: "max-bundle",
      iceServers: options.iceServers,
    });
  }

  /** Resolves when media can flow. Rejects with PlaybackError, having closed the session. */
  async open(signal: AbortSignal): Promise<void> {
    try {
      signal.throwIfAborted();
      await this.offer(signal);
      await this.connect(signal);
    } catch (error) {
      this.close();
      throw asPlaybackError(error, signal);
    }
    this.unwatch = watchForLoss(this.peer, healMs, () => this.end(failure("lost", "The connection broke.")));
  }

  /** Switches the format within the session. Resolves to false if the server cannot do so. */
  async select(format: string): Promise<boolean> {
    if (this.session === null || this.session.layerUrl === "" || this.state === "closed") return false;
    await postLayer(this.environment.fetch, this.session.layerUrl, format, this.options.token);
    return true;
  }

  /** Ends the session here and at the server. Harmless when repeated. */
  close(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.unwatch();
    this.peer.close();
    deleteSession(this.environment.fetch, this.session?.url ?? "", this.options.token);
  }

  private async offer(signal: AbortSignal): Promise<void> {
    this.state = "offering";
    const { peer, options } = this;
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.addTransceiver("audio", { direction: "recvonly" });
    peer.addEventListener("track", (event) => options.onTrack(event.track));

    const offer = await peer.createOffer();
    await peer.setLocalDescription({ type: "offer", sdp: offerStereo(offer.sdp ?? "") });
    await gathered(peer, gatherMs);
    const query = options.format === "auto" ? "" : `?format=${encodeURIComponent(options.format)}`;
    this.session = await postOffer(
      this.environment.fetch,
      (options.address ?? String)(`/whep/${options.stream}${query}`),
      peer.localDescription?.sdp ?? "",
      options.token,
      signal,
    );
    signal.throwIfAborted(); // left while the answer travelled: close() deletes the session
  }

  private async connect(signal: AbortSignal): Promise<void> {
    this.state = "connecting";
    const answer = this.session!.answer;
    if (answeredCodecs(answer).length === 0) {
      throw new PlaybackError(
        failure("unsupported", "The server and this browser share no WebRTC codec for this stream."),
      );
    }
    try {
      await this.peer.setRemoteDescription({ type: "answer", sdp: answer });
    } catch {
      throw new PlaybackError(
        failure("unsupported", "This browser does not understand the server's answer."),
      );
    }
    await connected(this.peer, connectMs, signal);
    this.state = "connected";
  }
}

function asPlaybackError(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted || error instanceof PlaybackError) return error;
  if (error instanceof BlockedError) return new PlaybackError(failure("blocked", error.message));
  if (error instanceof ProblemError) return new PlaybackError(failureOf(error.problem));
  return new PlaybackError(failure("unsupported", `WebRTC does not work in this browser: ${String(error)}`));
}
