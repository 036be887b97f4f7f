/**
 * In-memory twins of the network, for tests: a peer connection that does what
 * the test says and a fetch that remembers what it was asked.
 */

import type { Fetch } from "./signalling.ts";

export const answer = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 H264/90000\r\n";

export class TwinPeer extends EventTarget {
  iceGatheringState: RTCIceGatheringState = "new";
  connectionState: RTCPeerConnectionState = "new";
  localDescription: RTCSessionDescription | null = null;
  remote: RTCSessionDescriptionInit | null = null;
  closed = false;
  readonly secured = Object.assign(new EventTarget(), { state: "connected" });
  readonly transceivers: {
    what: unknown;
    init: RTCRtpTransceiverInit | undefined;
    preferred: RTCRtpCodec[];
  }[] = [];

  constructor(readonly configuration: RTCConfiguration) {
    super();
  }

  addTransceiver(what: unknown, init?: RTCRtpTransceiverInit) {
    const transceiver = { what, init, preferred: [] as RTCRtpCodec[] };
    this.transceivers.push(transceiver);
    return {
      sender: { transport: this.secured },
      setCodecPreferences: (codecs: RTCRtpCodec[]) => void (transceiver.preferred = codecs),
    } as unknown as RTCRtpTransceiver;
  }
  createOffer = (): Promise<RTCSessionDescriptionInit> =>
    Promise.resolve({ type: "offer", sdp: "v=0 offer\r\n" });
  setLocalDescription(description?: RTCLocalSessionDescriptionInit): Promise<void> {
    this.localDescription = description as RTCSessionDescription;
    return Promise.resolve();
  }
  setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void> {
    this.remote = description;
    return Promise.resolve();
  }
  getStats = (): Promise<RTCStatsReport> => Promise.resolve(new Map() as unknown as RTCStatsReport);
  getReceivers = (): RTCRtpReceiver[] => [];
  close(): void {
    this.closed = true;
    this.connectionState = "closed"; // real ones fire no event either
  }

  /** What the network does. */
  gather(): void {
    this.iceGatheringState = "complete";
    this.dispatchEvent(new Event("icegatheringstatechange"));
  }
  become(state: RTCPeerConnectionState): void {
    this.connectionState = state;
    this.dispatchEvent(new Event("connectionstatechange"));
  }
}

export interface Asked {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: string;
  keepalive: boolean;
}

/** A fetch that answers POSTs to sessions with `reply`, and everything else with `other`, 200 if left out. */
export function twinFetch(
  reply: () => Response | Promise<Response>,
  other: () => Response | Promise<Response> = () => new Response(null, { status: 200 }),
): { fetch: Fetch; asked: Asked[] } {
  const asked: Asked[] = [];
  const fetch: Fetch = async (url, init = {}) => {
    asked.push({
      method: init.method ?? "GET",
      url,
      headers: (init.headers ?? {}) as Record<string, string>,
      body: String(init.body ?? ""),
      keepalive: init.keepalive === true,
    });
    return init.method === "POST" && !url.includes("layer") ? reply() : other();
  };
  return { fetch, asked };
}

export function created(headers: Record<string, string> = {}): Response {
  return new Response(answer, {
    status: 201,
    headers: { "content-type": "application/sdp", location: "/sessions/5", etag: '"a"', ...headers },
  });
}

export function refused(
  status: number,
  detail: string,
  headers: Record<string, string> = {},
  members: Record<string, unknown> = {},
): Response {
  return new Response(JSON.stringify({ status, detail, ...members }), {
    status,
    headers: { "content-type": "application/problem+json", ...headers },
  });
}
