/** The part of the REST interface that the pages read, and the shapes it answers with. */

import { ProblemError, readProblem, unreachable } from "./problem.ts";
import { authorization } from "./token.ts";

/** One encoding of a stream, as `GET /api/v1/streams` lists it. */
export interface Format {
  name: string;
  kind: "video" | "audio";
  /** Absent until the publisher's first data of it, which comes a moment after the publisher does. */
  codec?: string;
  width?: number;
  height?: number;
  fps?: number;
  /** Bits per second. */
  bitrate?: number;
  channels?: number;
  sample_rate?: number;
  /** False for a format that starts when somebody first asks for it. */
  running: boolean;
  /** Offered over WHEP; a browser may still lack its codec. */
  webrtc: boolean;
  /** Offered over HLS. */
  hls: boolean;
}

export interface Stream {
  name: string;
  /** A publisher is sending now. */
  live: boolean;
  /** RFC 3339; when the publisher came. */
  since?: string;
  viewers: number;
  thumbnail?: string;
  formats: Format[];
}

/** Where a server takes streams in. */
export interface Ingest {
  /** Who publishes needs one. */
  token: boolean;
  whip: boolean;
  /** Absent where it does not listen for RTSP. */
  rtsp_port?: number;
}

export interface Listing {
  streams: Stream[];
  /** Null where the server takes none in: others of its cluster do. */
  ingest: Ingest | null;
}

/** Every stream the token may see. Rejects with ProblemError. */
export async function listStreams(token: string, signal: AbortSignal): Promise<Listing> {
  const { streams, ingest } = (await get("/api/v1/streams", token, signal)) as {
    streams?: unknown;
    ingest?: Ingest;
  };
  return { streams: Array.isArray(streams) ? streams.map(asStream) : [], ingest: ingest ?? null };
}

/** One stream by name. Rejects with ProblemError; status 404 when the server never heard of it. */
export async function getStream(name: string, token: string, signal: AbortSignal, base = ""): Promise<Stream> {
  return asStream(await get(`${base}/api/v1/streams/${name}`, token, signal));
}

/** Asks the interface for a path. Rejects with ProblemError. */
export async function get(path: string, token: string, signal: AbortSignal): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(path, {
      headers: { Accept: "application/json", ...authorization(token) },
      cache: "no-store",
      signal,
    });
  } catch {
    throw new ProblemError(unreachable());
  }
  if (!response.ok) throw new ProblemError(await readProblem(response, Date.now()));
  return response.json().catch(() => {
    throw new ProblemError({
      ...unreachable(),
      detail: "The server's answer is not JSON. Is a proxy in between?",
    });
  });
}

/** Fills what an older or newer server leaves out, so that pages need no guards. */
export function asStream(body: unknown): Stream {
  const fields = (typeof body === "object" && body !== null ? body : {}) as Partial<Stream>;
  return {
    name: String(fields.name ?? ""),
    live: fields.live === true,
    viewers: typeof fields.viewers === "number" ? fields.viewers : 0,
    formats: Array.isArray(fields.formats) ? fields.formats.flatMap(asFormat) : [],
    ...(fields.since === undefined ? {} : { since: fields.since }),
    ...(fields.thumbnail === undefined ? {} : { thumbnail: fields.thumbnail }),
  };
}

/** The format, or nothing where it has no name or kind: a codec is a word, or is not known. */
function asFormat(body: unknown): Format[] {
  const fields = (typeof body === "object" && body !== null ? body : {}) as Partial<Format>;
  const { codec, name, kind, ...rest } = fields;
  if (typeof name !== "string" || (kind !== "video" && kind !== "audio")) return [];
  return [
    {
      ...rest,
      name,
      kind,
      ...(typeof codec === "string" && codec !== "" ? { codec } : {}),
      running: fields.running === true,
      webrtc: fields.webrtc === true,
      hls: fields.hls === true,
    },
  ];
}
