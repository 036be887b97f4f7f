/** What the landing page says while nothing is live: the ways to begin that this server offers. */

import type { ComponentChildren } from "preact";
import type { Ingest } from "../shared/api.ts";

export function Guide({ ingest }: { ingest: Ingest | null }) {
  if (ingest === null) {
    return (
      <Head>
        This page shows streams as they appear. This server shows them and takes none in: publish to one of its
        cluster that has the role <code>ingest</code>.
      </Head>
    );
  }
  return (
    <>
      <Head>
        This page shows streams as they appear. Start one in any of these ways; <code>cup/cam1</code> stands for a
        name of your choice
        {ingest.token && (
          <>
            , and <code>$TOKEN</code> for what the command prints that the server showed when it started: "Make a
            token to publish with"
          </>
        )}
        .
      </Head>
      <div class="guide">
        {ingest.whip && <FromHere />}
        {ingest.whip && <FromOBS token={ingest.token} />}
        {ingest.rtsp_port !== undefined && <FromFFmpeg port={ingest.rtsp_port} token={ingest.token} />}
      </div>
    </>
  );
}

function Head({ children }: { children: ComponentChildren }) {
  return (
    <div class="guide-head">
      <h1>Nothing is live right now</h1>
      <p class="soft">{children}</p>
    </div>
  );
}

function FromHere() {
  return (
    <section>
      <h2>From this browser</h2>
      <p class="soft small">Camera or screen, with nothing to install.</p>
      <a class="button" href={`/publish/${location.hash}`}>
        Open the publish page
      </a>
    </section>
  );
}

function FromOBS({ token }: { token: boolean }) {
  return (
    <section>
      <h2>From OBS Studio</h2>
      <p class="soft small">Settings, Stream, Service: WHIP.</p>
      <dl>
        <dt>Server</dt>
        <dd>
          <code>{location.origin}/whip/cup/cam1</code>
        </dd>
        {token && (
          <>
            <dt>Bearer token</dt>
            <dd>
              <code>$TOKEN</code>
            </dd>
          </>
        )}
      </dl>
    </section>
  );
}

function FromFFmpeg({ port, token }: { port: number; token: boolean }) {
  return (
    <section>
      <h2>From FFmpeg</h2>
      <p class="soft small">A file, a camera or a capture card, by RTSP.</p>
      <pre class="snippet">{`ffmpeg -re -i file.mp4 -c copy -f rtsp -rtsp_transport tcp \\
  "rtsp://${location.hostname}:${port}/cup/cam1${token ? "?token=$TOKEN" : ""}"`}</pre>
    </section>
  );
}
