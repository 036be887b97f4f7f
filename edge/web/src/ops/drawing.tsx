/** The tree as a picture. All that it says stands in the tables as well, so it is one image to a screen reader. */

import { useEffect, useRef, useState } from "preact/hooks";
import { bitrateLabel } from "../shared/formats.ts";
import { type Choice, concerns, sameChoice } from "./choice.ts";
import { byFormat } from "./formats.ts";
import { presence, type Shown } from "./history.ts";
import { type Box, layOut, type Link } from "./layout.ts";
import { type Flow, sum } from "./tree.ts";
import { formatText, percent, rolesText, state } from "./words.ts";

interface Pointing {
  /** What is to stand out. */
  shown: Choice | null;
  point(choice: Choice | null): void;
  choose(choice: Choice): void;
}

/** More moving lanes than this are a load to the browser, and nobody follows them. */
const mostMoving = 120;

type Tint = (format: string) => string;

export function Drawing({
  nodes,
  flows,
  tint,
  ...pointing
}: { nodes: Shown[]; flows: Flow[]; tint: Tint } & Pointing) {
  const frame = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(Math.floor(entry!.contentRect.width)));
    watch.observe(frame.current!);
    return () => watch.disconnect();
  }, []);
  const layout = width === 0 ? null : layOut(nodes, flows, width);
  const known = nodes.every(({ outdated }) => outdated !== true);
  const moving = known && layout !== null && layout.links.reduce((n, { lanes }) => n + lanes.length, 0) <= mostMoving;
  return (
    <div class="ops-drawing" ref={frame}>
      {layout !== null && (
        <svg
          width={layout.width}
          height={layout.height}
          viewBox={`0 0 ${layout.width} ${layout.height}`}
          role="img"
          aria-label={`${nodes.length} nodes and ${layout.links.length} links between them; the tables below list them.`}
        >
          {layout.bands.map(({ region, ...box }) => (
            <g key={region} class="ops-band">
              <rect {...box} rx="12" />
              <text x={box.x + 14} y={box.y + 18}>
                {region === "" ? "no region" : region}
              </text>
            </g>
          ))}
          {layout.links.map((link) => (
            <LinkLanes key={`${link.parent} ${link.child}`} link={link} tint={tint} moving={moving} {...pointing} />
          ))}
          {layout.heads.map(({ text, x, y }) => (
            <text key={`${text} ${y}`} class={`ops-head${layout.across ? "" : " inside"}`} x={x} y={y}>
              {text}
            </text>
          ))}
          {nodes.map((node) => (
            <NodeBox
              key={node.name}
              node={node}
              box={layout.boxes.get(node.name)!}
              compact={layout.compact}
              flows={flows}
              {...pointing}
            />
          ))}
        </svg>
      )}
    </div>
  );
}

function LinkLanes({
  link,
  tint,
  moving,
  shown,
  point,
  choose,
}: { link: Link; tint: Tint; moving: boolean } & Pointing) {
  const choice = { parent: link.parent, child: link.child };
  const apart = shown !== null && !concerns(shown, link);
  return (
    <g
      class={`ops-link${apart ? " apart" : ""}`}
      data-link={`${link.parent} ${link.child}`}
      onPointerEnter={() => point(choice)}
      onPointerLeave={() => point(null)}
      onClick={() => choose(choice)}
    >
      {link.lanes.map(({ format, kind, path, bitrate }) => (
        <g key={`${format} ${kind}`} class={`${tint(format)} ${kind}`}>
          <path class="ops-hit" d={path} />
          <path class="ops-lane" d={path} stroke-width={laneWidth(bitrate)} />
          {moving && bitrate > 0 && <path class="ops-pulse" d={path} stroke-width={laneWidth(bitrate)} />}
        </g>
      ))}
    </g>
  );
}

/** Thicker for more, within what lanes have room for. */
function laneWidth(bitrate: number): number {
  return Math.round(10 * Math.min(4.5, 1.4 + Math.log10(1 + bitrate / 300_000) * 2)) / 10;
}

function NodeBox({
  node,
  box,
  compact,
  flows,
  shown,
  point,
  choose,
}: { node: Shown; box: Box; compact: boolean; flows: Flow[] } & Pointing) {
  const choice = { node: node.name };
  const { word, text } = state(node);
  const letters = Math.floor((box.width - 24) / 7.4);
  const inner = box.width - 24;
  const viewers = sum(node.viewers);
  return (
    <g
      class={`ops-node ${word}${sameChoice(shown, choice) ? " chosen" : ""}`}
      data-node={node.name}
      data-state={word}
      transform={`translate(${box.x} ${box.y})`}
      opacity={Math.max(0.08, presence(node, performance.now()))}
      onPointerEnter={() => point(choice)}
      onPointerLeave={() => point(null)}
      onClick={() => choose(choice)}
    >
      <rect class="ops-box" width={box.width} height={box.height} rx="10" />
      <circle class="ops-lamp" cx={box.width - 14} cy={compact ? 14 : 19} r="4" />
      <text class="ops-name" x="12" y={compact ? 19 : 24}>
        {cut(node.name, Math.floor((box.width - (compact && viewers > 0 ? 90 : 38)) / 8.6))}
      </text>
      {compact && viewers > 0 && (
        <text class="ops-tiny figure" x={box.width - 26} y="18" text-anchor="end">
          {viewers} {viewers === 1 ? "viewer" : "viewers"}
        </text>
      )}
      {!compact && (
        <>
          <text class="ops-soft" x="12" y="43">
            {cut(word === "up" ? rolesText(node.roles) : `${text} · ${rolesText(node.roles)}`, letters)}
          </text>
          <text class="ops-soft figure" x="12" y="61">
            {cut(carries(node, flows), letters)}
          </text>
          <text class="ops-tiny figure" x={box.width - 12} y="83" text-anchor="end">
            {percent(node.load)}
          </text>
        </>
      )}
      <rect class="ops-gauge" x="12" y={box.height - 17} width={inner - (compact ? 0 : 34)} height="5" rx="2.5" />
      <rect
        class="ops-load"
        x="12"
        y={box.height - 17}
        width={(inner - (compact ? 0 : 34)) * node.load}
        height="5"
        rx="2.5"
      />
    </g>
  );
}

/** What matters most of a node, in a line: who watches there, what is born there, what passes. */
function carries(node: Shown, flows: Flow[]): string {
  const viewers = sum(node.viewers);
  const here = flows.filter(({ child }) => child === node.name);
  const born = new Set(
    here.filter(({ born, format }) => born && format === "source").map(({ stream }) => stream),
  );
  const made = here.filter(({ born, format }) => born && format !== "source").length;
  const rate = here.reduce((total, { bitrate }) => total + bitrate, 0);
  const parts = [
    viewers > 0 || node.roles.includes("edge") ? `${viewers} ${viewers === 1 ? "viewer" : "viewers"}` : "",
    born.size === 1 ? `from ${[...born][0]}` : born.size > 1 ? `${born.size} publishers` : "",
    made > 0 ? `makes ${made}` : "",
    viewers === 0 && born.size === 0 && here.length > 0 ? bitrateLabel(rate) : "",
  ].filter((part) => part !== "");
  return parts.length === 0 ? "idle" : parts.join(" · ");
}

function cut(text: string, letters: number): string {
  return text.length <= letters ? text : `${text.slice(0, Math.max(1, letters - 1))}…`;
}

/** Which colour is which format. */
export function Legend({ flows, tint }: { flows: Flow[]; tint: Tint }) {
  const formats = [...new Map([...flows].sort(byFormat).map((flow) => [flow.format, flow])).values()];
  return (
    <ul class="ops-legend small" aria-label="Formats">
      {formats.map(({ format }) => (
        <li key={format} class={tint(format)}>
          <span class="ops-swatch" />
          {formatText(format)}
        </li>
      ))}
    </ul>
  );
}
