/**
 * A peer connection after the answer: whether it comes about, and when it is
 * lost. WHIP and WHEP share it, as they share their HTTP half in signalling.ts.
 */

/** The part of RTCPeerConnection that sessions of both directions use. */
export type Peer = Pick<
  RTCPeerConnection,
  | "addTransceiver"
  | "createOffer"
  | "setLocalDescription"
  | "setRemoteDescription"
  | "localDescription"
  | "iceGatheringState"
  | "connectionState"
  | "addEventListener"
  | "removeEventListener"
  | "getStats"
  | "close"
>;

type Connection = Pick<Peer, "connectionState" | "addEventListener" | "removeEventListener">;

/** HTTP works, but no way for media was found. */
export class BlockedError extends Error {
  constructor() {
    super("The connection for media did not come about: the network seems to block UDP.");
    this.name = "BlockedError";
  }
}

/**
 * Resolves when media can flow. Rejects with BlockedError when ICE or DTLS
 * fail or take longer than mostMs, and with the signal's reason when it aborts.
 */
export function connected(peer: Connection, mostMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      clearTimeout(timer);
      peer.removeEventListener("connectionstatechange", check);
      signal.removeEventListener("abort", check);
      act();
    };
    const blocked = () => settle(() => reject(new BlockedError()));
    const check = () => {
      if (signal.aborted) settle(() => reject(signal.reason));
      else if (peer.connectionState === "connected") settle(resolve);
      else if (peer.connectionState === "failed" || peer.connectionState === "closed") blocked();
    };
    const timer = setTimeout(blocked, mostMs);
    peer.addEventListener("connectionstatechange", check);
    signal.addEventListener("abort", check);
    check();
  });
}

/**
 * Calls lost when a connection has failed, was closed by the other side, or has
 * been broken for healMs: a broken path often heals within seconds (a phone
 * changing cells). `secured` tells that it was closed, which the connection's
 * own state tells only when ICE has missed answers for 5 s. Returns what ends
 * the watch; nothing is called after that.
 */
export function watchForLoss(
  peer: Connection,
  healMs: number,
  lost: () => void,
  secured: Pick<RTCDtlsTransport, "state" | "addEventListener" | "removeEventListener"> | null = null,
): () => void {
  let healing: ReturnType<typeof setTimeout> | undefined;
  const check = () => {
    clearTimeout(healing);
    switch (peer.connectionState) {
      case "failed":
      case "closed":
        return lost();
      case "disconnected":
        healing = setTimeout(lost, healMs);
    }
  };
  const closed = () => {
    if (secured?.state === "closed" || secured?.state === "failed") lost();
  };
  peer.addEventListener("connectionstatechange", check);
  secured?.addEventListener("statechange", closed);
  check();
  return () => {
    clearTimeout(healing);
    secured?.removeEventListener("statechange", closed);
    peer.removeEventListener("connectionstatechange", check);
  };
}
