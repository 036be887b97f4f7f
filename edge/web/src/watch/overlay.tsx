/** What stands over the picture: waiting, trouble in words, and the tap for sound. */

import { Icon } from "../shared/icons.tsx";
import { TokenForm } from "../shared/token-form.tsx";
import type { Player } from "./player.ts";

export function Overlay({ player }: { player: Player }) {
  return (
    <>
      <Message player={player} />
      <Taps player={player} />
      <SoundOnly player={player} />
    </>
  );
}

function Message({ player }: { player: Player }) {
  const state = player.state.value;
  const notice = player.notice.value;
  const shown = state !== "playing" && !player.sound.tapToPlay.value;
  return (
    <div
      class={`message ${shown ? "shown" : ""} ${notice === null ? "brief" : ""}`}
      role="status"
      aria-live="polite"
    >
      {shown && (
        <>
          {state !== "error" && <div class="spinner" aria-hidden="true" />}
          {notice === null ? (
            <span class="hidden-visually">
              {state === "waiting" ? "Waiting for the picture" : "Connecting"}
            </span>
          ) : (
            <div class="message-words">
              <h2>{notice.title}</h2>
              <p>{notice.detail}</p>
              {notice.action === "token" && (
                <TokenForm />
              )}
              {notice.action === "auto" && (
                <button type="button" class="button" onClick={() => void player.choose({ format: "auto" })}>
                  Play the best there is
                </button>
              )}
              {notice.action === "retry" && (
                <button type="button" class="button" onClick={() => player.again()}>
                  Try again
                </button>
              )}
            </div>
          )}
        </>
      )}
    </div>
  );
}

function Taps({ player }: { player: Player }) {
  const { sound } = player;
  if (sound.tapToPlay.value) {
    return (
      <button type="button" class="tap tap-play" aria-label="Play" onClick={() => sound.unmute()}>
        <Icon name="play" size={40} />
      </button>
    );
  }
  if (!sound.tapForSound.value || player.state.value !== "playing") return null;
  return (
    <button type="button" class="tap" onClick={() => sound.unmute()}>
      <Icon name="muted" /> Tap for sound
    </button>
  );
}

function SoundOnly({ player }: { player: Player }) {
  const formats = player.info.value?.formats ?? [];
  const only =
    player.state.value === "playing" &&
    formats.length > 0 &&
    player.sample.value?.height === 0 &&
    !formats.some(({ kind }) => kind === "video");
  return only ? (
    <div class="sound-only">
      <Icon name="wave" size={56} />
      <p>Sound only</p>
    </div>
  ) : null;
}
