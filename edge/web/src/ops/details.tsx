/** What is known of the node or the link that somebody points at. */

import { bitrateLabel } from "../shared/formats.ts";
import { type Choice, concerns } from "./choice.ts";
import { byFormat } from "./formats.ts";
import type { Shown } from "./history.ts";
import type { Flow } from "./tree.ts";
import { dropsText, hopText, loadText, state, trackText, viewersText } from "./words.ts";

const mostListed = 8;

export function Details({
  shown,
  nodes,
  flows,
  tint,
}: {
  shown: Choice | null;
  nodes: Shown[];
  flows: Flow[];
  tint(format: string): string;
}) {
  if (shown === null) {
    return (
      <section class="ops-details" aria-label="Details">
        <p class="soft small">
          <span class="ops-pointer">Point at</span>
          <span class="ops-finger">Tap</span> a node or a line to see more of it, or choose one in the tables.
        </p>
      </section>
    );
  }
  const node = nodes.find(({ name }) => name === ("node" in shown ? shown.node : shown.child));
  if (node === undefined) return <section class="ops-details" aria-label="Details" />;
  return (
    <section class="ops-details" aria-label="Details">
      {"node" in shown ? (
        <NodeDetails node={node} />
      ) : (
        <LinkDetails
          parent={shown.parent}
          child={node}
          flows={flows.filter((flow) => concerns(shown, flow)).sort(byFormat)}
          tint={tint}
        />
      )}
    </section>
  );
}

function NodeDetails({ node }: { node: Shown }) {
  return (
    <>
      <h2>{node.name}</h2>
      {node.trouble !== "" && <p class="ops-trouble small">No account of itself: {node.trouble}.</p>}
      {node.troubles.map((sentence) => (
        <p class="ops-trouble small" key={sentence}>
          {sentence}
        </p>
      ))}
      <dl class="small figure">
        <Fact name="State" value={state(node).text} />
        <Fact name="Region" value={node.region || "none"} />
        <Fact name="Roles" value={node.roles.join(", ")} />
        <Fact name="Load" value={loadText(node)} />
        <Fact name="Viewers" value={viewersText(node.viewers)} />
        <Fact name="Hop delay, p50 / p99" value={hopText(node.hop)} />
        <Fact name="Left out on its links" value={dropsText(node.drops)} />
        <Fact name="Version" value={node.version || "–"} />
      </dl>
    </>
  );
}

function LinkDetails({
  parent,
  child,
  flows,
  tint,
}: {
  parent: string;
  child: Shown;
  flows: Flow[];
  tint(format: string): string;
}) {
  const rate = flows.reduce((total, { bitrate }) => total + bitrate, 0);
  return (
    <>
      <h2>
        {parent} → {child.name}
      </h2>
      <p class="soft small figure">
        {flows.length} {flows.length === 1 ? "track" : "tracks"}
        {rate > 0 && ` · ${bitrateLabel(rate)}`} · hop delay {hopText(child.hop)} (p50 / p99)
      </p>
      <ul class="small figure ops-tracks">
        {flows.slice(0, mostListed).map((flow) => (
          <li key={`${flow.stream} ${flow.format} ${flow.kind}`} class={tint(flow.format)}>
            <span class="ops-swatch" />
            {flow.stream} · {trackText(flow)} · {bitrateLabel(flow.bitrate) || "nothing now"} · left out:{" "}
            {dropsText(flow.drops)}
          </li>
        ))}
        {flows.length > mostListed && <li class="soft">and {flows.length - mostListed} more</li>}
      </ul>
    </>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
