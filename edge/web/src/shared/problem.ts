/** Errors of the server's HTTP doors: `application/problem+json` (RFC 9457). */

export interface Problem {
  /** HTTP status; 0 when no answer came at all. */
  status: number;
  title: string;
  /** A sentence that can be shown to a person. */
  detail: string;
  /** From Retry-After, in milliseconds; 0 when absent. */
  retryAfterMs: number;
  /** A word of the server's on why, for programs, where a status has several reasons; otherwise absent. */
  cause?: string;
}

/** Thrown for every answer that is not a success. */
export class ProblemError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail || problem.title);
    this.name = "ProblemError";
  }
}

/** Whether it takes another token: with the same one, or none, the same question will be turned down again. */
export function wantsToken({ status }: Pick<Problem, "status">): boolean {
  return status === 401 || status === 403;
}

/** What to say for a status whose answer carried no sentence of its own. */
const sentences: Record<number, string> = {
  0: "The server cannot be reached. Check the connection.",
  401: "This stream needs a token.",
  403: "This token does not allow that.",
  404: "There is no stream of this name.",
  406: "The server and this browser share no codec for this stream.",
  409: "The stream is not live yet.",
  410: "The session has ended.",
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
  const { title, detail, cause } = fields as Record<string, unknown>;
  if (typeof title === "string") problem.title = title.slice(0, mostDetail);
  if (typeof detail === "string" && detail !== "") problem.detail = detail.slice(0, mostDetail);
  if (typeof cause === "string") problem.cause = cause;
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

/** What a page tells a person of a failure. */
export interface Words {
  title: string;
  detail: string;
}

/** What the person wanted: to see what is live, to watch a stream, to publish one. */
export type Purpose = "list" | "watch" | "publish";

/**
 * Puts a problem into words. The server's sentence will do, but where a token
 * is at fault it tells programs which header to send; a person needs another.
 * `token` is what was presented; empty for none.
 */
export function inWords(
  { status, title, detail }: Pick<Problem, "status" | "title" | "detail">,
  purpose: Purpose,
  token: string,
): Words {
  switch (status) {
    case 401:
      return token === "" ? missing[purpose] : { title: "This token is not good", detail: stale };
    case 403:
      return forbidden[purpose];
    default:
      return { title, detail };
  }
}

const stale = "This token has run out, was taken back, or was made for another server. Ask for a new one.";

const missing: Record<Purpose, Words> = {
  list: {
    title: "A token is needed",
    detail: "What is live here is not open to everybody. Ask who invited you for a token.",
  },
  watch: {
    title: "A token is needed",
    detail: "This stream is not open to everybody. Ask who invited you for a token.",
  },
  publish: {
    title: "A token is needed",
    detail: "Publishing needs a token. Paste the one that you were given into the field “Token”.",
  },
};

const forbidden: Record<Purpose, Words> = {
  list: {
    title: "Another token is needed",
    detail: "This token does not open the list of streams. Ask for one that does.",
  },
  watch: {
    title: "Another token is needed",
    detail: "This token is for other streams. Ask for one that opens this one.",
  },
  publish: {
    title: "Another token is needed",
    detail:
      "This token is not for publishing under this name. Choose a name that it allows, or ask for another token.",
  },
};
