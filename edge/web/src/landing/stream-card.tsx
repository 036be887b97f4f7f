import type { Stream } from "../shared/api.ts";
import { codecName } from "../shared/formats.ts";
import { Icon } from "../shared/icons.tsx";
import { Thumbnail } from "../shared/thumbnail.tsx";
import { fragmentOf } from "../shared/token.ts";

/** A stale card tells what was: who watches is not known any more, nor whether there is something to watch. */
export function StreamCard({ stream, token, stale }: { stream: Stream; token: string; stale: boolean }) {
  const detail = describe(stream);
  return (
    <a class={`card ${stale ? "stale-card" : ""}`} href={`/watch/${stream.name}${fragmentOf(token)}`}>
      <div class="card-picture">
        <Thumbnail url={stream.thumbnail ?? `/thumbnails/${stream.name}`} token={token} live={stream.live && !stale} />
        <span class={`live card-live ${stale ? "off" : ""}`}>{stale ? "WAS LIVE" : "LIVE"}</span>
        {!stale && (
          <span class="card-viewers figure">
            <Icon name="eye" size={15} /> {stream.viewers}
            <span class="hidden-visually">{stream.viewers === 1 ? " viewer" : " viewers"}</span>
          </span>
        )}
      </div>
      <div class="card-words">
        <h2>{stream.name}</h2>
        <p class="soft small figure">{detail}</p>
      </div>
    </a>
  );
}

/** "1080p · 30 fps · H.264 · Opus", from the largest video and the first audio format. */
export function describe(stream: Stream): string {
  const video = stream.formats
    .filter((format) => format.kind === "video")
    .reduce<Stream["formats"][number] | undefined>(
      (best, format) => ((format.height ?? 0) > (best?.height ?? -1) ? format : best),
      undefined,
    );
  const audio = stream.formats.find((format) => format.kind === "audio");
  // A moment after the publisher came not all of his tracks may be there: what is missing yet is not missing.
  const settled = stream.formats.every(({ codec }) => codec !== undefined);
  const parts = [
    video?.height ? `${video.height}p` : "",
    video?.fps ? `${Math.round(video.fps)} fps` : "",
    video === undefined ? (audio === undefined || !settled ? "" : "Sound only") : codecName(video.codec),
    audio === undefined ? (video === undefined || !settled ? "" : "no sound") : codecName(audio.codec),
  ];
  return parts.filter((part) => part !== "").join(" · ");
}
