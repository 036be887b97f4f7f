/** Why a try to play ended, in terms that the fallback policy can weigh. */

import type { Problem } from "../shared/problem.ts";

export type Cause =
  | "not-live" // the name is good, its publisher is not there
  | "unknown" // the server never heard of the name
  | "unauthorized" // a token is missing, or does not allow this
  | "full" // no edge has room for more viewers
  | "busy" // the server asks to come back later
  | "refused" // the server does not offer the stream this way
  | "unsupported" // this browser cannot take the stream this way
  | "unreachable" // no answer over HTTP
  | "blocked" // HTTP works but no media path: UDP is blocked
  | "no-frames" // connected, but nothing was decoded
  | "lost" // it played, then the connection broke
  | "stalled"; // it played, then media stopped while the publisher was live

export interface Failure {
  cause: Cause;
  /** A sentence that can be shown to a person. */
  detail: string;
  retryAfterMs: number;
  /** HTTP status of the answer that was the cause, if one was. */
  status?: number;
}

export class PlaybackError extends Error {
  constructor(readonly failure: Failure) {
    super(failure.detail);
    this.name = "PlaybackError";
  }
}

export function failure(cause: Cause, detail: string, retryAfterMs = 0): Failure {
  return { cause, detail, retryAfterMs };
}

/** Reads a problem of the WHEP or HLS door. */
export function failureOf(problem: Problem): Failure {
  return {
    ...failure(causeOf(problem), problem.detail, problem.retryAfterMs),
    status: problem.status,
  };
}

function causeOf({ status, cause }: Problem): Cause {
  if (status === 503 && cause === "full") return "full";
  switch (status) {
    case 0:
      return "unreachable";
    case 401:
    case 403:
      return "unauthorized";
    case 404:
      return "unknown";
    case 409:
      return "not-live";
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
      return "busy";
    default:
      return "refused";
  }
}
