/** The bar of controls at the bottom of the stage. */

import { Icon } from "../shared/icons.tsx";
import { delayLabel } from "../shared/delay.ts";
import { QualityMenu } from "./quality-menu.tsx";
import type { Player } from "./player.ts";

interface Props {
  player: Player;
  full: boolean;
  statistics: boolean;
  onFullscreen(): void;
  onStatistics(): void;
}

export function Controls({ player, full, statistics, onFullscreen, onStatistics }: Props) {
  const { sound } = player;
  const paused = sound.paused.value;
  return (
    <div class="controls" role="group" aria-label="Player controls">
      <button
        type="button"
        class="control"
        aria-label={paused ? "Play (k)" : "Pause (k)"}
        title={paused ? "Play (k)" : "Pause (k)"}
        onClick={() => player.togglePlay()}
      >
        <Icon name={paused ? "play" : "pause"} />
      </button>
      <div class="volume">
        <button
          type="button"
          class="control"
          aria-label={sound.muted.value ? "Unmute (m)" : "Mute (m)"}
          title={sound.muted.value ? "Unmute (m)" : "Mute (m)"}
          onClick={() => sound.toggleMute()}
        >
          <Icon name={sound.muted.value ? "muted" : "sound"} />
        </button>
        <input
          type="range"
          min="0"
          max="1"
          step="0.05"
          aria-label="Volume"
          value={sound.muted.value ? 0 : sound.volume.value}
          onInput={(event) => sound.set(event.currentTarget.valueAsNumber)}
        />
      </div>
      <LiveDelay player={player} />
      <span class="spacer" />
      <QualityMenu player={player} />
      <button
        type="button"
        class="control"
        aria-label="Statistics (s)"
        title="Statistics (s)"
        aria-pressed={statistics}
        onClick={onStatistics}
      >
        <Icon name="chart" />
      </button>
      <button
        type="button"
        class="control"
        aria-label={full ? "Leave full screen (f)" : "Full screen (f)"}
        title={full ? "Leave full screen (f)" : "Full screen (f)"}
        onClick={onFullscreen}
      >
        <Icon name={full ? "reduce" : "enlarge"} />
      </button>
    </div>
  );
}

function LiveDelay({ player }: { player: Player }) {
  const state = player.state.value;
  const playing = state === "playing";
  const delay = player.delayMs.value;
  // Beside words that say the contrary it would only confuse.
  if (!playing && (state === "error" || player.live.value !== true)) return null;
  return (
    <span class="live-delay">
      <span class={`live ${playing ? "" : "off"}`}>LIVE</span>
      {delay !== null && (
        <span class="figure small" title="Time behind live">
          <span class="hidden-visually">Behind live: </span>
          {delayLabel(delay)}
        </span>
      )}
    </span>
  );
}
