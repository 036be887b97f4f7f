import { useEffect, useRef, useState } from "preact/hooks";
import { Mark } from "./mark.tsx";
import { poll } from "./poll.ts";
import { authorization } from "./token.ts";

const renewMs = 4000;

/**
 * The newest still of a stream, renewed while it is in view. Fetched rather
 * than linked, so that a token can go along and a missing one shows nothing
 * broken: the old picture stays, or the mark.
 */
export function Thumbnail({ url, token, live }: { url: string; token: string; live: boolean }) {
  const frame = useRef<HTMLDivElement>(null);
  const [picture, setPicture] = useState<string | null>(null);

  useEffect(() => {
    if (!live || frame.current === null) return;
    let stop = new AbortController();
    stop.abort();
    const watcher = new IntersectionObserver(([entry]) => {
      stop.abort();
      if (!entry?.isIntersecting) return;
      stop = new AbortController();
      void poll(
        async (signal) => {
          const still = await fetchStill(url, token, signal);
          if (still !== null && !signal.aborted) setPicture(still);
        },
        renewMs,
        stop.signal,
      );
    });
    watcher.observe(frame.current);
    return () => {
      watcher.disconnect();
      stop.abort();
    };
  }, [url, token, live]);

  // The old picture is let go only when the new one has replaced it.
  useEffect(() => () => void (picture !== null && URL.revokeObjectURL(picture)), [picture]);

  return (
    <div class="thumbnail" ref={frame}>
      {picture === null ? <Mark size={44} /> : <img src={picture} alt="" onError={() => setPicture(null)} />}
    </div>
  );
}

async function fetchStill(url: string, token: string, signal: AbortSignal): Promise<string | null> {
  const address = new URL(url, location.href);
  address.searchParams.set("t", String(Math.floor(Date.now() / renewMs)));
  const response = await fetch(address, { headers: authorization(token), signal });
  return response.ok ? URL.createObjectURL(await response.blob()) : null;
}
