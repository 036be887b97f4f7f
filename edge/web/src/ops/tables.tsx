/** The tree in words: what the drawing shows, and more, for the keyboard and for screen readers. */

import { bitrateLabel } from "../shared/formats.ts";
import type { ComponentChildren } from "preact";
import { type Choice, sameChoice } from "./choice.ts";
import { byFormat } from "./formats.ts";
import type { Shown } from "./history.ts";
import type { Flow, Tree } from "./tree.ts";
import { agoText, dropsText, goneText, hopText, loadText, state, trackText, viewersText } from "./words.ts";

interface Choosing {
  chosen: Choice | null;
  choose(choice: Choice | null): void;
}

export function NodeTable({ nodes, chosen, choose }: { nodes: Shown[] } & Choosing) {
  return (
    <section class="ops-table">
      <h2 id="nodes-title">Nodes</h2>
      <div class="ops-scroll" role="region" aria-labelledby="nodes-title" tabIndex={0}>
        <table aria-labelledby="nodes-title" data-table="nodes">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">State</th>
              <th scope="col">Region</th>
              <th scope="col">Roles</th>
              <th scope="col">Load</th>
              <th scope="col">Viewers</th>
              <th scope="col">
                Hop delay <span class="soft">p50 / p99</span>
              </th>
              <th scope="col">Left out on links</th>
            </tr>
          </thead>
          <tbody>
            {nodes.map((node) => (
              <tr key={node.name} class={state(node).word}>
                <th scope="row">
                  <Pick choice={{ node: node.name }} {...{ chosen, choose }}>
                    {node.name}
                  </Pick>
                </th>
                <td>
                  <span class="ops-state">{state(node).text}</span>
                  {node.trouble !== "" && node.lostAt === null && (
                    <span class="hidden-visually">: {node.trouble}</span>
                  )}
                  {node.lostAt === null &&
                    node.troubles.map((sentence) => (
                      <p class="ops-trouble small" key={sentence}>
                        {sentence}
                      </p>
                    ))}
                </td>
                <td>{node.region || "none"}</td>
                <td>{node.roles.join(", ")}</td>
                <td class="figure">{loadText(node)}</td>
                <td class="figure">{viewersText(node.viewers)}</td>
                <td class="figure">{hopText(node.hop)}</td>
                <td class="figure">{dropsText(node.drops)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** Who went lately, as far as the node that tells it was there to see it. */
export function GoneTable({ tree }: { tree: Tree }) {
  const there = tree.nodes.map(({ name }) => name);
  return (
    <section class="ops-table">
      <h2 id="gone-title">Gone lately</h2>
      <div class="ops-scroll" role="region" aria-labelledby="gone-title" tabIndex={0}>
        <table aria-labelledby="gone-title" data-table="gone">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">When</th>
              <th scope="col">What happened</th>
              <th scope="col">Region</th>
              <th scope="col">Roles</th>
            </tr>
          </thead>
          <tbody>
            {tree.gone.map((node) => (
              <tr key={`${node.name} ${node.at}`} class={node.left || there.includes(node.name) ? "" : "lost"}>
                <th scope="row">{node.name}</th>
                <td class="figure">
                  <time dateTime={new Date(node.at).toISOString()}>{new Date(node.at).toLocaleTimeString()}</time>
                  <span class="soft">, {agoText(tree.time - node.at)}</span>
                </td>
                <td>
                  <span class="ops-state">{goneText(node, there)}</span>
                </td>
                <td>{node.region || "none"}</td>
                <td>{node.roles.join(", ")}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** More rows than this nobody reads; a stream or a node narrows them down. */
const mostRows = 400;

export function FlowTable({
  flows,
  nodes,
  tint,
  chosen,
  choose,
}: { flows: Flow[]; nodes: Shown[]; tint(format: string): string } & Choosing) {
  const hops = new Map(nodes.map(({ name, hop }) => [name, hop]));
  const rows = [...flows].sort(inOrder);
  return (
    <section class="ops-table">
      <div class="ops-table-title">
        <h2 id="flows-title">Flows{chosen !== null && ` · ${choiceText(chosen)}`}</h2>
        {chosen !== null && (
          <button type="button" class="button quiet" onClick={() => choose(null)}>
            Show all
          </button>
        )}
      </div>
      <div class="ops-scroll" role="region" aria-labelledby="flows-title" tabIndex={0}>
        <table aria-labelledby="flows-title" data-table="flows">
          <thead>
            <tr>
              <th scope="col">Stream</th>
              <th scope="col">Track</th>
              <th scope="col">From → to</th>
              <th scope="col">Bit rate</th>
              <th scope="col">
                Hop delay <span class="soft">p50 / p99</span>
              </th>
              <th scope="col">Readers</th>
              <th scope="col">Left out</th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, mostRows).map((flow) => (
              <tr key={`${flow.child} ${flow.stream} ${flow.format} ${flow.kind}`}>
                <th scope="row">{flow.stream}</th>
                <td class={tint(flow.format)}>
                  <span class="ops-swatch" />
                  {trackText(flow)}
                </td>
                <td>
                  <Pick choice={way(flow)} {...{ chosen, choose }}>
                    {wayText(flow)}
                  </Pick>
                </td>
                <td class="figure">{bitrateLabel(flow.bitrate) || "nothing now"}</td>
                <td class="figure">{flow.parent === "" ? "–" : hopText(hops.get(flow.child) ?? null)}</td>
                <td class="figure">{flow.readers}</td>
                <td class="figure">{dropsText(flow.drops)}</td>
              </tr>
            ))}
            {rows.length === 0 && (
              <tr>
                <td colSpan={7} class="soft">
                  Nothing flows. Tracks appear when somebody publishes, or watches elsewhere.
                </td>
              </tr>
            )}
          </tbody>
        </table>
      </div>
      {rows.length > mostRows && (
        <p class="soft small">and {rows.length - mostRows} more: choose a stream or a node.</p>
      )}
    </section>
  );
}

function inOrder(a: Flow, b: Flow): number {
  return compare(a.stream, b.stream) || byFormat(a, b) || compare(a.parent, b.parent) || compare(a.child, b.child);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

const way = (flow: Flow): Choice =>
  flow.parent === "" ? { node: flow.child } : { parent: flow.parent, child: flow.child };

function wayText({ parent, child, born }: Flow): string {
  if (parent !== "") return `${parent} → ${child}`;
  return born ? `born at ${child}` : `${child} looks for a parent`;
}

function choiceText(choice: Choice): string {
  return "node" in choice ? choice.node : `${choice.parent} → ${choice.child}`;
}

/** A button that shows its node or link in the drawing, and that alone in the table of flows. */
function Pick({ choice, chosen, choose, children }: { choice: Choice; children: ComponentChildren } & Choosing) {
  return (
    <button type="button" class="ops-pick" aria-pressed={sameChoice(choice, chosen)} onClick={() => choose(choice)}>
      {children}
    </button>
  );
}
