/** Errors of the server's HTTP doors: `application/problem+json` (RFC 9457). */

export interface Problem {
  /** HTTP status; 0 when no answer came at all. */
  status: number;
  title: string;
  /** A sentence that can be shown to a person. */
  detail: string;
  /** From Retry-After, in milliseconds; 0 when absent. */
  retryAfterMs: number;
}

/** Thrown for every answer that is not a success. */
export class ProblemError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail || problem.title);
    this.name = "ProblemError";
  }
}

/** What to say for a status whose answer carried no sentence of its own. */
const sentences: Record<number, string> = {
  0: "The server cannot be reached. Check the connection.",
  401: "This stream needs a token.",
  403: "This token does not allow that.",
  404: "There is no stream of this name.",
  406: "The server and this browser share no codec for this stream.",
  409: "The stream is not live yet.",
  415: "The server did not understand this browser's offer.",
  429: "Too many requests. Waiting a moment.",
  500: "The server failed to answer.",
  502: "The server behind this address does not answer.",
  503: "The server is busy. Waiting a moment.",
  504: "The server behind this address does not answer.",
};

/** Longest sentence shown; a proxy's error page must not fill the screen. */
const mostDetail = 300;

/** Reads a failed response; any body is tolerated. */
export async function readProblem(response: Response, now: number): Promise<Problem> {
  const body = await response.text().catch(() => "");
  return parseProblem(
    response.status,
    body,
    response.headers.get("content-type") ?? "",
    retryAfter(response.headers.get("retry-after"), now),
  );
}

export function parseProblem(status: number, body: string, type: string, retryAfterMs = 0): Problem {
  const problem: Problem = {
    status,
    title: "",
    detail: sentences[status] ?? `The server answered ${status}.`,
    retryAfterMs,
  };
  if (!/^application\/(problem\+)?json\b/i.test(type)) return problem;
  let fields: unknown;
  try {
    fields = JSON.parse(body);
  } catch {
    return problem;
  }
  if (typeof fields !== "object" || fields === null) return problem;
  const { title, detail } = fields as Record<string, unknown>;
  if (typeof title === "string") problem.title = title.slice(0, mostDetail);
  if (typeof detail === "string" && detail !== "") problem.detail = detail.slice(0, mostDetail);
  return problem;
}

/** The problem of a request that got no answer: refused, cut off, or blocked. */
export function unreachable(): Problem {
  return { status: 0, title: "Unreachable", detail: sentences[0]!, retryAfterMs: 0 };
}

/** Retry-After (RFC 9110 section 10.2.3), seconds or a date, in milliseconds; 0 when absent or bad. */
export function retryAfter(header: string | null, now: number): number {
  if (header === null) return 0;
  const text = header.trim();
  if (/^\d{1,6}$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) || /^[-\d.]+$/.test(text) ? 0 : Math.max(0, date - now);
}
