/** The publish page: choose a source, see it, go live. */

import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { bitrateLabel, codecName, sizeLabel } from "../shared/formats.ts";
import { Header } from "../shared/header.tsx";
import { Icon } from "../shared/icons.tsx";
import { isStreamName } from "../shared/names.ts";
import { fragmentOf, tokenInFragment } from "../shared/token.ts";
import { capture, type Choice, type Devices, listDevices, release } from "./capture.ts";
import { PublishForm, type Terms } from "./publish-form.tsx";
import { Publisher } from "./publisher.ts";

export function PublishPage({ stream }: { stream: string }) {
  const preview = useRef<HTMLVideoElement>(null);
  const publisher = useRef(new Publisher()).current;
  const terms = useSignal<Terms>({ stream, token: tokenInFragment(location.hash), maxBitrate: 2_500_000 });
  const choice = useSignal<Choice>({ source: "camera", camera: "", microphone: "", height: 720 });
  const devices = useSignal<Devices>({ cameras: [], microphones: [] });
  const media = useSignal<MediaStream | null>(null);
  const trouble = useSignal("");
  const busy = useComputed(() => publisher.state.value !== "idle");

  const put = (next: MediaStream | null) => {
    if (media.value !== next) release(media.value);
    media.value = next;
    preview.current!.srcObject = next;
    // The person ended screen sharing in the browser's own bar, or pulled the plug.
    next?.getVideoTracks()[0]?.addEventListener("ended", () => {
      if (media.value !== next) return;
      publisher.stop();
      put(null);
      trouble.value = "The source ended. Choose one to go live again.";
    });
  };

  const open = async (change: Partial<Choice>) => {
    choice.value = { ...choice.value, ...change };
    trouble.value = "";
    try {
      put(await capture(choice.value));
      devices.value = await listDevices();
    } catch (error) {
      trouble.value = (error as Error).message;
    }
  };

  useEffect(() => {
    const leave = () => publisher.stop();
    addEventListener("pagehide", leave);
    return () => {
      removeEventListener("pagehide", leave);
      leave();
      release(media.value);
    };
  }, []);

  const begin = async () => {
    const { stream, token, maxBitrate } = terms.value;
    if (!isStreamName(stream)) return;
    if (media.value === null) await open({});
    if (media.value === null) return;
    history.replaceState(null, "", `/publish/${stream}${fragmentOf(token)}`);
    await publisher.start(stream, token, media.value, maxBitrate);
  };

  return (
    <>
      <Header token={terms.value.token}>
        <a class="button quiet" href={`/${fragmentOf(terms.value.token)}`}>
          All streams
        </a>
      </Header>
      <main class="wide publish">
        <section class="preview" aria-label="Preview">
          <video ref={preview} autoPlay muted playsInline aria-label="Preview of what will be sent" />
          {media.value === null && (
            <div class="preview-choice">
              <button type="button" class="button" onClick={() => void open({ source: "camera" })}>
                <Icon name="camera" /> Use the camera
              </button>
              <button type="button" class="button quiet" onClick={() => void open({ source: "screen" })}>
                <Icon name="screen" /> Share a screen
              </button>
            </div>
          )}
          <OnAir publisher={publisher} />
        </section>
        <div class="publish-side">
          <h1>{headline(publisher)}</h1>
          {(trouble.value || publisher.trouble.value) !== "" && (
            <p class="trouble" role="alert">
              {trouble.value || publisher.trouble.value}
              {publisher.state.value === "retrying" && " Trying again."}
              {publisher.dismissed.value === "taken-over" && !busy.value && (
                <button type="button" class="button" onClick={() => void begin()}>
                  Take it back
                </button>
              )}
            </p>
          )}
          <PublishForm
            terms={terms.value}
            choice={choice.value}
            devices={devices.value}
            open={media.value !== null}
            busy={busy.value}
            onTerms={(change) => void (terms.value = { ...terms.value, ...change })}
            onChoice={(change) => void open(change)}
            onBegin={() => void begin()}
            onStop={() => publisher.stop()}
          />
          {publisher.state.value === "live" && (
            <p class="small">
              Viewers watch at{" "}
              <a href={`/watch/${terms.value.stream}`}>{`${location.origin}/watch/${terms.value.stream}`}</a>
            </p>
          )}
        </div>
      </main>
    </>
  );
}

function headline({ state, since }: Publisher): string {
  switch (state.value) {
    case "idle":
      return "Go live from this browser";
    case "connecting":
      return "Going live";
    case "live":
      return "You are live";
    case "retrying":
      return since.value === null ? "Trying to go live" : "Reconnecting";
  }
}

function OnAir({ publisher }: { publisher: Publisher }) {
  const outgoing = publisher.outgoing.value;
  if (publisher.state.value === "idle") return null;
  const figures =
    outgoing === null
      ? []
      : [
          bitrateLabel(outgoing.rates.bitrate ?? undefined),
          sizeLabel(outgoing.width, outgoing.height),
          outgoing.rates.fps === null ? "" : `${Math.round(outgoing.rates.fps)} fps`,
          outgoing.codec === "" ? "" : codecName(outgoing.codec),
        ];
  // In its first seconds every sender is still finding out what the line carries.
  const settled = Date.now() - (publisher.since.value ?? Infinity) > 10_000;
  const again = publisher.since.value === null ? "Connecting" : "Reconnecting";
  const words = { connecting: "Connecting", retrying: again, live: "LIVE", idle: "" }[publisher.state.value];
  return (
    <div class="on-air" role="status">
      <span class={`live ${publisher.state.value === "live" ? "" : "off"}`}>{words}</span>
      <span class="figure small">{figures.filter((part) => part !== "").join(" · ")}</span>
      {outgoing?.limit === "cpu" && <span class="small">This machine is too slow for more.</span>}
      {outgoing?.limit === "bandwidth" && settled && <span class="small">The line carries no more.</span>}
    </div>
  );
}
