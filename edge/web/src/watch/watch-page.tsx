/** The watch page: the stage with its picture and controls, and a line about the stream below. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { codecName, codecOf } from "../shared/formats.ts";
import { Header } from "../shared/header.tsx";
import { Icon } from "../shared/icons.tsx";
import { fragmentOf, tokenInFragment } from "../shared/token.ts";
import { Controls } from "./controls.tsx";
import { publishHook } from "./hook.ts";
import { isFullscreen, toggleFullscreen } from "./fullscreen.ts";
import { followKeys } from "./keys.ts";
import { nameOf } from "./levels.ts";
import { Overlay } from "./overlay.tsx";
import { Player } from "./player.ts";
import { Statistics } from "./statistics.tsx";
import { stillOn } from "./still.ts";
import { useIdle } from "./idle.ts";
import { wishInQuery } from "./wish.ts";

export function WatchPage({ stream }: { stream: string }) {
  const stage = useRef<HTMLDivElement>(null);
  const video = useRef<HTMLVideoElement>(null);
  const still = useRef<HTMLCanvasElement>(null);
  const player = useSignal<Player | null>(null);
  const statistics = useSignal(false);
  const full = useSignal(false);
  const idle = useIdle(stage);

  useEffect(() => {
    const element = video.current!;
    const make = () => {
      const made = new Player(
        stream,
        element,
        stillOn(element, still.current!),
        tokenInFragment(location.hash),
        wishInQuery(location.search),
      );
      made.start();
      return made;
    };
    player.value = make();
    let unpublish = publishHook(player.value);

    const follow = () => player.value?.useToken(tokenInFragment(location.hash));
    // Leaving ends the session at the server; coming back out of the browser's cache makes a new one.
    const leave = () => player.value?.stop();
    const back = (event: PageTransitionEvent) => {
      if (!event.persisted) return;
      unpublish();
      player.value = make();
      unpublish = publishHook(player.value);
    };
    const fullscreen = () => void (full.value = isFullscreen());
    addEventListener("hashchange", follow);
    addEventListener("pagehide", leave);
    addEventListener("pageshow", back);
    document.addEventListener("fullscreenchange", fullscreen);
    return () => {
      removeEventListener("hashchange", follow);
      removeEventListener("pagehide", leave);
      removeEventListener("pageshow", back);
      document.removeEventListener("fullscreenchange", fullscreen);
      unpublish();
      leave();
    };
  }, [stream]);

  const toggleStatistics = () => void (statistics.value = !statistics.value);
  const fullscreen = () => toggleFullscreen(stage.current!, video.current!);
  useEffect(
    () =>
      followKeys({
        playPause: () => player.value?.togglePlay(),
        mute: () => player.value?.sound.toggleMute(),
        fullscreen,
        statistics: toggleStatistics,
        volume: (step) => player.value?.sound.set(player.value.sound.volume.value + step),
        dismiss: () => void (statistics.value = false),
      }),
    [],
  );

  const playing = player.value?.state.value === "playing" && !player.value.sound.paused.value;
  return (
    <>
      <Header token={tokenInFragment(location.hash)}>
        <a class="button quiet" href={`/${fragmentOf(tokenInFragment(location.hash))}`}>
          All streams
        </a>
      </Header>
      <main class="watch">
        <div class={`stage ${idle.value && playing ? "idle" : ""}`} ref={stage}>
          {/* The element is ours alone: keys and controls are below, so it takes no focus. */}
          <video
            ref={video}
            playsInline
            aria-label={`Live video of ${stream}`}
            onDblClick={fullscreen}
            onClick={(event) => {
              // A touch only wakes the controls, as people expect of a phone.
              if ((event as unknown as PointerEvent).pointerType !== "touch") player.value?.togglePlay();
            }}
          />
          <canvas ref={still} class="still" hidden aria-hidden="true" />
          {player.value !== null && (
            <>
              <Overlay player={player.value} />
              {statistics.value && <Statistics player={player.value} onClose={toggleStatistics} />}
              <Controls
                player={player.value}
                full={full.value}
                onFullscreen={fullscreen}
                onStatistics={toggleStatistics}
                statistics={statistics.value}
              />
            </>
          )}
        </div>
        {player.value !== null && <About player={player.value} />}
      </main>
    </>
  );
}

function About({ player }: { player: Player }) {
  const info = player.info.value;
  const sample = player.sample.value;
  const formats = info?.formats ?? [];
  const missing =
    formats.length === 0 || info?.live !== true || formats.some(({ codec }) => codec === undefined)
      ? ""
      : !formats.some(({ kind }) => kind === "video")
        ? "Sound only: this stream has no picture."
        : !formats.some(({ kind }) => kind === "audio")
          ? "This stream has no sound."
          : "";
  const how = [
    player.transport.value === "webrtc" ? "WebRTC" : player.transport.value === "hls" ? "HLS" : "",
    ...nameOf(player.format.value, sample?.height ?? 0, formats),
    codecName(codecOf(sample?.videoCodec)),
  ];
  return (
    <section class="about" aria-label="About this stream">
      <div class="about-name">
        <h1>{player.stream}</h1>
        {player.live.value === true ? (
          <span class="live">LIVE</span>
        ) : player.live.value === false ? (
          <span class="live off">OFF AIR</span>
        ) : null}
      </div>
      <p class="soft small figure about-line">
        {/* Only what the API says now: it may not answer, or have forgotten the stream. */}
        {info !== null && info.live === player.live.value && (
          <span class="about-viewers">
            <Icon name="eye" size={16} /> {info.viewers === 1 ? "1 viewer" : `${info.viewers} viewers`}
          </span>
        )}
        {player.transport.value !== "none" && <span>{how.filter((part) => part !== "").join(" · ")}</span>}
        {missing !== "" && <span>{missing}</span>}
      </p>
      {player.transport.value === "hls" && player.fallbackReason.value !== "" && (
        <p class="soft small">Playing by HLS, a little later than live. {player.fallbackReason.value}</p>
      )}
    </section>
  );
}
