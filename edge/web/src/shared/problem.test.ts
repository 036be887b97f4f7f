import { describe, expect, it } from "vitest";
import { inWords, parseProblem, readProblem, retryAfter } from "./problem.ts";

const json = "application/problem+json";

describe("parseProblem", () => {
  it("takes the server's sentence", () => {
    const body = JSON.stringify({
      type: "about:blank",
      title: "Conflict",
      status: 409,
      detail: "Nobody publishes cup/cam1.",
    });
    expect(parseProblem(409, body, json, 2000)).toEqual({
      status: 409,
      title: "Conflict",
      detail: "Nobody publishes cup/cam1.",
      retryAfterMs: 2000,
    });
  });

  it.each([
    ["no body", "", json],
    ["not JSON", "<html>Bad gateway</html>", json],
    ["an array", "[]", json],
    ["null", "null", json],
    ["numbers for words", '{"detail":7,"title":{}}', json],
    ["an empty detail", '{"detail":""}', json],
    ["a page of a proxy", "<h1>secret internals</h1>", "text/html"],
  ])("has words of its own for %s", (_, body, type) => {
    expect(parseProblem(409, body, type).detail).toBe("The stream is not live yet.");
  });

  it("cuts endless sentences", () => {
    expect(parseProblem(400, JSON.stringify({ detail: "x".repeat(10_000) }), json).detail).toHaveLength(300);
  });

  it("names a status it has no words for", () => {
    expect(parseProblem(418, "", "").detail).toBe("The server answered 418.");
  });
});

describe("retryAfter", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  it.each([
    [null, 0],
    ["3", 3000],
    [" 0 ", 0],
    ["Thu, 01 Jan 2026 00:00:05 GMT", 5000],
    ["Wed, 31 Dec 2025 00:00:00 GMT", 0], // already past
    ["-5", 0],
    ["1.5", 0],
    ["99999999999", 0],
    ["soon", 0],
  ])("reads %j as %i ms", (header, want) => {
    expect(retryAfter(header, now)).toBe(want);
  });
});

it("readProblem joins headers and body", async () => {
  const response = new Response('{"detail":"Full."}', {
    status: 503,
    headers: { "content-type": json, "retry-after": "4" },
  });
  expect(await readProblem(response, 0)).toMatchObject({ status: 503, detail: "Full.", retryAfterMs: 4000 });
});

describe("inWords", () => {
  const header = "Send it in the header Authorization: Bearer.";
  const problem = (status: number) => ({ status, title: "Title", detail: header });

  it.each(["list", "watch", "publish"] as const)("of a missing token are for people (%s)", (purpose) => {
    const words = inWords(problem(401), purpose, "");
    expect(words.title).toBe("A token is needed");
    expect(words.detail).toMatch(/token/i);
    expect(words.detail).not.toMatch(/header|authorization|bearer/i);
  });

  it("tell a token that is not taken from one that is missing, and from one for something else", () => {
    expect(inWords(problem(401), "publish", "sesame").title).toBe("This token is not good");
    expect(inWords(problem(403), "publish", "sesame").detail).toContain("under this name");
    expect(inWords(problem(403), "watch", "sesame").detail).toContain("other streams");
  });

  it("are the server's own for everything else", () => {
    expect(inWords(problem(409), "publish", "sesame")).toEqual({ title: "Title", detail: header });
  });
});
