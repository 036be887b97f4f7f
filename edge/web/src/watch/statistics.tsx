/** The statistics panel, opened with the key `s`. */

import { bitrateLabel, codecName, codecOf, formatLabel, sizeLabel } from "../shared/formats.ts";
import { delayLabel, withinWhole } from "../shared/delay.ts";
import type { Sample } from "./playback.ts";
import type { Player } from "./player.ts";

export function Statistics({ player, onClose }: { player: Player; onClose(): void }) {
  return (
    <section class="statistics" aria-label="Statistics">
      <header>
        <h2>Statistics</h2>
        <button type="button" class="control" aria-label="Close statistics (Escape)" onClick={onClose}>
          ×
        </button>
      </header>
      <dl class="figure">
        {rows(player).map(([label, value]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function rows(player: Player): [string, string][] {
  const transport = { webrtc: "WebRTC", hls: "Low-latency HLS", none: "–" }[player.transport.value];
  const sample = player.sample.value;
  if (sample === null)
    return [
      ["Transport", transport],
      ["State", player.state.value],
    ];
  const { counters, rates } = sample;
  const lost =
    counters.packetsLost === undefined
      ? "–"
      : `${counters.packetsLost}${rates.loss ? ` (${(rates.loss * 100).toFixed(1)} % now)` : ""}`;
  return [
    ["Transport", transport],
    ["Format", formatLabel(player.format.value)],
    ["Codecs", [sample.videoCodec, sample.audioCodec].map((codec) => codecName(codecOf(codec))).filter((name) => name !== "").join(" + ") || "–"],
    ["Resolution", sizeLabel(sample.width, sample.height) || "–"],
    ["Frame rate", rates.fps === null ? "–" : `${rates.fps.toFixed(1)} fps`],
    ["Bit rate", bitrateLabel(rates.bitrate ?? undefined) || "–"],
    ["Live delay", wholeLabel(sample)],
    ...(player.transport.value === "webrtc"
      ? ([
          ["… from server", aboutLabel(withinWhole(rates.fromServerMs, sample.delayMs))],
          ["Round trip", milliseconds(rates.roundTripMs)],
          ["Jitter buffer", milliseconds(rates.jitterBufferMs)],
          ["Decoding", milliseconds(rates.decodeMs)],
          ["Packets lost", lost],
        ] as [string, string][])
      : []),
    ...sample.extra,
    ["Frames decoded", String(counters.framesDecoded ?? "–")],
    ["Frames dropped", String(counters.framesDropped ?? "–")],
    ["Freezes", String(counters.freezes ?? "–")],
  ];
}

/** Where only the last part of the way is known, the whole is at least that long. */
function wholeLabel({ delayMs, rates }: Sample): string {
  if (delayMs !== null || rates.fromServerMs === null) return delayLabel(delayMs);
  return `at least ${delayLabel(rates.fromServerMs)}`;
}

function aboutLabel(ms: number | null): string {
  return ms === null ? "–" : `≈ ${delayLabel(ms)}`;
}

function milliseconds(value: number | null): string {
  return value === null ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}
