/** What the landing page says while nothing is live: three ways to begin. */

export function Guide() {
  const { origin, hostname } = location;
  return (
    <>
      <div class="guide-head">
        <h1>Nothing is live right now</h1>
        <p class="soft">
          This page shows streams as they appear. Start one in any of these ways; <code>cup/cam1</code> stands
          for a name of your choice.
        </p>
      </div>
      <div class="guide">
        <section>
          <h2>From this browser</h2>
          <p class="soft small">Camera or screen, with nothing to install.</p>
          <a class="button" href={`/publish/${location.hash}`}>
            Open the publish page
          </a>
        </section>
        <section>
          <h2>From OBS Studio</h2>
          <p class="soft small">Settings, Stream, Service: WHIP.</p>
          <dl>
            <dt>Server</dt>
            <dd>
              <code>{origin}/whip/cup/cam1</code>
            </dd>
            <dt>Bearer token</dt>
            <dd class="soft small">
              what <code>banyan token --publish "cup/*"</code> prints
            </dd>
          </dl>
        </section>
        <section>
          <h2>From FFmpeg</h2>
          <p class="soft small">A file, a camera or a capture card, by RTSP.</p>
          <pre class="snippet">{`TOKEN=$(banyan token --publish "cup/*")
ffmpeg -re -i file.mp4 -c copy -f rtsp -rtsp_transport tcp \\
  "rtsp://${hostname}:8554/cup/cam1?token=$TOKEN"`}</pre>
        </section>
      </div>
    </>
  );
}
