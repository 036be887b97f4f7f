/** The landing page: what is live now, or how to begin when nothing is. */

import { type Listing, listStreams, type Stream } from "../shared/api.ts";
import { useAnswer } from "../shared/asking.ts";
import { Header } from "../shared/header.tsx";
import { inWords, type Problem, wantsToken, type Words } from "../shared/problem.ts";
import { TokenForm } from "../shared/token-form.tsx";
import { fragmentOf } from "../shared/token.ts";
import { Guide } from "./guide.tsx";
import { StreamCard } from "./stream-card.tsx";

const pollMs = 2500;

export function Landing() {
  const { token, answer, problem } = useAnswer(listStreams, pollMs);

  return (
    <>
      <Header token={token.value}>
        {answer.value?.ingest?.whip === true && (
          <a class="button quiet" href={`/publish/${fragmentOf(token.value)}`}>
            Go live
          </a>
        )}
      </Header>
      <main class="wide landing">
        <Body listing={answer.value} problem={problem.value} token={token.value} />
      </main>
      <footer class="wide landing-foot small">
        <a href={`/ops${fragmentOf(token.value)}`}>The tree of nodes, for operators</a>
      </footer>
    </>
  );
}

function Body({
  listing,
  problem,
  token,
}: {
  listing: Listing | null;
  problem: Problem | null;
  token: string;
}) {
  if (problem !== null && wantsToken(problem))
    return <AskToken words={inWords(problem, "list", token)} />;
  if (listing === null) {
    return problem === null ? (
      <div class="cards" role="status" aria-busy="true" aria-label="Loading streams">
        {[1, 2, 3].map((key) => (
          <div key={key} class="card-ghost" />
        ))}
      </div>
    ) : (
      <p role="alert">{problem.detail}</p>
    );
  }
  const live = listing.streams.filter((stream) => stream.live);
  return (
    <>
      {problem !== null && (
        <p class="stale" role="alert">
          {problem.detail} Showing what was known before.
        </p>
      )}
      {live.length === 0 ? (
        <Guide ingest={listing.ingest} />
      ) : (
        <LiveStreams streams={live} token={token} stale={problem !== null} />
      )}
    </>
  );
}

function LiveStreams({ streams, token, stale }: { streams: Stream[]; token: string; stale: boolean }) {
  return (
    <>
      <div class="landing-title">
        <h1>{stale ? "Live a while ago" : "Live now"}</h1>
        <span class="soft figure">{streams.length === 1 ? "1 stream" : `${streams.length} streams`}</span>
      </div>
      <ul class="cards">
        {streams.map((stream) => (
          <li key={stream.name}>
            <StreamCard stream={stream} token={token} stale={stale} />
          </li>
        ))}
      </ul>
    </>
  );
}

function AskToken({ words }: { words: Words }) {
  return (
    <section class="ask">
      <h1>{words.title}</h1>
      <p class="soft">{words.detail}</p>
      <TokenForm />
    </section>
  );
}
