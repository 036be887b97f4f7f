/** Figures and states in words. */

import { codecName, formatLabel } from "../shared/formats.ts";
import type { Shown } from "./history.ts";
import { type Flow, type Gone, type Hop, sum } from "./tree.ts";

export function state(node: Shown): { word: "lost" | "draining" | "silent" | "full" | "up" | "unknown"; text: string } {
  if (node.lostAt !== null) return { word: "lost", text: "Gone" };
  if (node.outdated === true) return { word: "unknown", text: "Unknown" };
  if (node.draining) return { word: "draining", text: "Draining" };
  if (node.trouble !== "") return { word: "silent", text: "No answer" };
  return node.load >= 0.95 ? { word: "full", text: "Full" } : { word: "up", text: "Up" };
}

/** How a node went, and whether one of its name is there. */
export function goneText({ name, left }: Gone, there: readonly string[]): string {
  const how = left ? "Left: it said goodbye" : "Died, or was cut off";
  return there.includes(name) ? `${how}. It is back` : how;
}

/** "12 s ago", "3 min ago". */
export function agoText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  return seconds < 60 ? `${seconds} s ago` : `${Math.floor(seconds / 60)} min ago`;
}

const allRoles = ["ingest", "transcoder", "relay", "edge"];

export function rolesText(roles: readonly string[]): string {
  if (roles.length === 0) return "no role";
  return allRoles.every((role) => roles.includes(role)) ? "all roles" : roles.join(", ");
}

export function percent(load: number): string {
  return `${Math.round(load * 100)} %`;
}

/** What a node carries: of its line, and of its encoders where any run. */
export function loadText({ load, encoding }: { load: number; encoding: number }): string {
  return encoding > 0 ? `${percent(load)}, encoders ${percent(encoding)}` : percent(load);
}

/** "0.4 / 2.1 ms": the middle one, and what one of a hundred exceeds. */
export function hopText(hop: Hop | null): string {
  return hop === null ? "–" : `${ms(hop.p50_ms)} / ${ms(hop.p99_ms)} ms`;
}

function ms(n: number): string {
  return n < 10 ? n.toFixed(1) : String(Math.round(n));
}

const transports: Record<string, string> = { whep: "WebRTC", webrtc: "WebRTC", hls: "HLS", rtsp: "RTSP" };

/** "3 WebRTC, 1 HLS"; "none". */
export function viewersText(viewers: Record<string, number>): string {
  const parts = Object.entries(viewers)
    .filter(([, n]) => n > 0)
    .map(([transport, n]) => `${n} ${transports[transport] ?? transport}`);
  return parts.length === 0 ? "none" : parts.join(", ");
}

/** Some are lost on the way here. Others were passed over for single readers, who are slow or wait for a keyframe. */
const reasons: Record<string, string> = {
  missing: "never came",
  hole: "missing when due",
  late: "came too late",
  overrun: "not sent to slow readers",
  lag: "not sent to slow readers, who skip to a keyframe",
  "await-keyframe": "not sent to readers before their first keyframe",
  stale: "line too slow",
  "too-large": "too large",
};

/** "12 never came, 3 came too late"; "none". What single readers were not sent is none of the track's losses. */
export function dropsText(drops: Record<string, number>): string {
  if (sum(drops) === 0) return "none";
  return Object.entries(drops)
    .filter(([, n]) => n > 0)
    .map(([reason, n]) => `${n} ${reasons[reason] ?? reason}`)
    .join(", ");
}

/** A format's name, also of those that are called by their codec. */
export function formatText(format: string): string {
  return format === "opus" || format === "aac" ? codecName(format) : formatLabel(format);
}

/** "720p picture, H.264"; "Opus sound". */
export function trackText({ format, kind, codec, height }: Flow): string {
  const name = formatText(format);
  if (codec === format) return `${name} ${kind === "audio" ? "sound" : "picture"}`;
  const size = format === "source" && height > 0 ? ` ${height}p` : "";
  return `${name}${size} ${kind === "audio" ? "sound" : "picture"}${codec === "" ? "" : `, ${codecName(codec)}`}`;
}
