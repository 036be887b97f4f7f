/** The live tree: every node, and what flows from where to where, as it is now. */

import { useSignal } from "@preact/signals";
import { useAnswer } from "../shared/asking.ts";
import { Header } from "../shared/header.tsx";
import { type Problem, wantsToken } from "../shared/problem.ts";
import { TokenForm } from "../shared/token-form.tsx";
import { fragmentOf } from "../shared/token.ts";
import { Details } from "./details.tsx";
import { Drawing, Legend } from "./drawing.tsx";
import { tints } from "./formats.ts";
import { type Memory, outdated, remember } from "./history.ts";
import { type Choice, concerns, sameChoice } from "./choice.ts";
import { FlowTable, GoneTable, NodeTable } from "./tables.tsx";
import { getTree, sum, type Tree } from "./tree.ts";

const pollMs = 1000;

const look = async (token: string, signal: AbortSignal, before: Memory | null): Promise<Memory> =>
  remember(before, await getTree(token, signal), performance.now());

export function OpsPage() {
  const { token, answer: memory, problem } = useAnswer(look, pollMs);

  return (
    <>
      <Header token={token.value}>
        <a class="button quiet" href={`/${fragmentOf(token.value)}`}>
          Streams
        </a>
      </Header>
      <main class="wide ops">
        <Body memory={memory.value} problem={problem.value} token={token.value} />
      </main>
    </>
  );
}

function Body({ memory, problem, token }: { memory: Memory | null; problem: Problem | null; token: string }) {
  if (problem !== null && wantsToken(problem)) return <AskToken status={problem.status} token={token} />;
  if (memory === null) {
    return problem === null ? (
      <div class="ops-ghost" role="status" aria-busy="true" aria-label="Asking all nodes" />
    ) : (
      <p role="alert">{problem.detail}</p>
    );
  }
  return (
    <>
      <div class="ops-title">
        <h1>The tree</h1>
        <Summary tree={memory.tree} />
      </div>
      {problem !== null && (
        <p class="stale" role="alert">
          {problem.detail} Showing what was known before.
        </p>
      )}
      <p class="hidden-visually" role="status">
        {memory.news}
      </p>
      <Live memory={problem === null ? memory : outdated(memory)} />
    </>
  );
}

function Summary({ tree }: { tree: Tree }) {
  const streams = new Set(tree.flows.map(({ stream }) => stream)).size;
  const viewers = tree.nodes.reduce((total, node) => total + sum(node.viewers), 0);
  const words = (n: number, one: string, more: string) => `${n} ${n === 1 ? one : more}`;
  return (
    <p class="soft figure">
      {words(tree.total, "node", "nodes")} · {words(streams, "stream", "streams")} ·{" "}
      {words(viewers, "viewer", "viewers")}
      {tree.total > tree.nodes.length && ` · showing ${tree.nodes.length} nodes`}
      {tree.more > 0 && ` · ${tree.more} flows left out`}
    </p>
  );
}

/** The picture and the tables, of all streams or of one. */
function Live({ memory }: { memory: Memory }) {
  const stream = useSignal("");
  const chosen = useSignal<Choice | null>(null);
  const pointed = useSignal<Choice | null>(null);
  const { nodes, tree } = memory;
  const streams = [...new Set(tree.flows.map(({ stream }) => stream))].sort();
  const flows =
    streams.includes(stream.value) ? tree.flows.filter((flow) => flow.stream === stream.value) : tree.flows;
  const tint = tints(tree.flows); // of all, so that colours stay when a stream is chosen
  const choose = (choice: Choice | null) =>
    void (chosen.value = sameChoice(choice, chosen.value) ? null : choice);
  const shown = pointed.value ?? chosen.value;
  return (
    <>
      <div class="ops-bar">
        <Legend flows={flows} tint={tint} />
        {streams.length > 1 && (
          <label class="field ops-stream">
            <span class="hidden-visually">Stream</span>
            <select value={stream.value} onChange={(event) => void (stream.value = event.currentTarget.value)}>
              <option value="">All streams</option>
              {streams.map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
        )}
      </div>
      <Drawing
        nodes={nodes}
        flows={flows}
        tint={tint}
        shown={shown}
        point={(choice) => void (pointed.value = choice)}
        choose={choose}
      />
      <Details shown={shown} nodes={nodes} flows={flows} tint={tint} />
      <NodeTable nodes={nodes} chosen={chosen.value} choose={choose} />
      {tree.gone.length > 0 && <GoneTable tree={tree} />}
      <FlowTable
        flows={chosen.value === null ? flows : flows.filter((flow) => concerns(chosen.value!, flow))}
        nodes={nodes}
        tint={tint}
        chosen={chosen.value}
        choose={choose}
      />
    </>
  );
}

function AskToken({ status, token }: { status: number; token: string }) {
  const [title, detail] =
    status === 403
      ? ["Another token is needed", "This token does not open the API."]
      : token === ""
        ? ["A token is needed", "How the nodes are is for operators."]
        : ["This token is not good", "It has run out, was taken back, or was made for another server."];
  return (
    <section class="ops-ask">
      <h1>{title}</h1>
      <p class="soft">
        {detail} Make one on the server with <code>banyan token --api</code> and the settings of the node, as it
        printed the command when it started.
      </p>
      <TokenForm />
    </section>
  );
}
