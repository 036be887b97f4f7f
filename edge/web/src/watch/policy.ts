/**
 * What to do after a try to play has failed: which transport next, when, and
 * what to say. Pure, so that the whole table can be tested without a network.
 *
 * WebRTC is first, for its delay. HLS takes over where WebRTC cannot work
 * (no support, no shared codec, UDP blocked, nothing decoded) and hands back
 * when it fails in turn. A person's own choice is never overruled: the same
 * transport is tried again, with words on why it does not play.
 */

import type { Transport } from "../shared/formats.ts";
import { inWords } from "../shared/problem.ts";
import type { Failure } from "./failure.ts";

export interface Situation {
  /** A transport the person chose; null leaves the choice to us. */
  pinned: Transport | null;
  /** Transports that can carry the stream's codecs to this browser. */
  usable: ReadonlySet<Transport>;
  /** Whether a publisher is sending; null when the API has not said. */
  live: boolean | null;
  /** TURN servers became known that the failed try did not use. */
  relaysUntried: boolean;
  /** Failures since media last flowed, this one included. */
  failures: number;
  /** Media has flowed at some time since the page opened. */
  played: boolean;
  /** What was presented; empty for none. */
  token: string;
  /** A format the person chose that the stream does not have; empty where there is none such. */
  missing: string;
}

export interface Notice {
  title: string;
  detail: string;
  /** What the person can do about it on this page. */
  action?: "token" | "retry" | "auto";
}

export interface Step {
  /** `waiting` for something outside us; `error` when it takes the person. */
  state: "connecting" | "waiting" | "error";
  transport: Transport;
  /** `live`: as soon as the API says so, else after back-off; `never`: not by itself. */
  retry: "now" | "backoff" | "live" | "never";
  notice: Notice | null;
}

export function firstTransport(situation: Pick<Situation, "pinned" | "usable">): Transport {
  return (
    situation.pinned ?? (situation.usable.has("webrtc") || !situation.usable.has("hls") ? "webrtc" : "hls")
  );
}

/** Failures in a row of a connection that used to work before the other transport gets its turn. */
const patience = 3;

export function afterFailure(failed: Transport, failure: Failure, situation: Situation): Step {
  const other: Transport = failed === "webrtc" ? "hls" : "webrtc";
  const turn = situation.pinned === null && situation.usable.has(other);
  const same = (state: Step["state"], retry: Step["retry"], notice: Notice | null): Step => ({
    state,
    transport: failed,
    retry,
    notice,
  });
  // Back and forth between two dead transports needs the back-off too.
  const fallBack = (): Step => ({
    state: "connecting",
    transport: other,
    retry: situation.failures < 2 ? "now" : "backoff",
    notice: null,
  });

  const absent = same("waiting", "live", absence(situation.played));
  // Whatever broke, without a publisher there is nothing that another try or transport could bring.
  if (situation.live === false && publisherExplains.has(failure.cause)) return absent;

  switch (failure.cause) {
    case "not-live":
    case "unknown": // the server forgets names that nobody publishes under
      return absent;
    case "unauthorized":
      return same("error", "never", {
        ...inWords({ status: failure.status ?? 401, title: "", detail: "" }, "watch", situation.token),
        action: "token",
      });
    case "unreachable":
      return same("waiting", "backoff", { title: "No connection to the server", detail: failure.detail });
    case "busy":
      return turn
        ? fallBack()
        : same("waiting", "backoff", { title: "The server is busy", detail: failure.detail });
    case "full": // the other transport takes of the same places
      return same("waiting", "backoff", {
        title: "All places are taken",
        detail: "This page waits and starts by itself as soon as there is room.",
      });
    case "blocked":
      if (situation.relaysUntried) return same("connecting", "now", null);
      return turn
        ? fallBack()
        : same("waiting", "backoff", {
            title: "The network blocks WebRTC",
            detail: `${failure.detail} Choose HLS, which needs nothing but HTTP.`,
          });
    case "refused":
    case "unsupported":
      return turn
        ? fallBack()
        : same("error", "never", {
            title: "This cannot play here",
            detail: failure.detail,
            // Another try would only ask for the same format again.
            action: situation.missing === "" ? "retry" : "auto",
          });
    case "no-frames":
      return turn
        ? fallBack()
        : same("waiting", "backoff", { title: "No picture arrives", detail: failure.detail });
    case "lost":
    case "stalled":
      if (turn && situation.failures > patience) return fallBack();
      return same("connecting", situation.failures > 1 ? "backoff" : "now", null);
  }
}

/** Failures that a missing publisher causes by itself. */
const publisherExplains: ReadonlySet<Failure["cause"]> = new Set(["full", "busy", "no-frames", "lost", "stalled"]);

const notYet: Notice = {
  title: "Not live yet",
  detail: "This page starts by itself when the broadcast does.",
};

export const away: Notice = {
  title: "The broadcaster is away",
  detail: "Waiting. The picture continues here when they are back.",
};

/** What to say while nobody publishes, to who has seen something of the stream or has not. */
export function absence(played: boolean): Notice {
  return played ? away : notYet;
}
