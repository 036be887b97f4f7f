/** The keyboard of the watch page. */

export interface Keys {
  playPause(): void;
  mute(): void;
  fullscreen(): void;
  statistics(): void;
  /** Changes the volume by a share of the whole. */
  volume(step: number): void;
  dismiss(): void;
}

const volumeStep = 0.05;

/** Listens until the returned function is called. Keys that a focused control needs are left to it. */
export function followKeys(keys: Keys): () => void {
  const onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.target instanceof Element ? event.target : null;
    if (target?.closest("input:not([type=range]), select, textarea, [role=menu]")) return;
    const act = actions(keys, event.key.toLowerCase(), target);
    if (act === null) return;
    event.preventDefault();
    act();
  };
  document.addEventListener("keydown", onKey);
  return () => document.removeEventListener("keydown", onKey);
}

function actions(keys: Keys, key: string, target: Element | null): (() => void) | null {
  const pressable = target?.closest("button, a") != null;
  switch (key) {
    case " ":
      return pressable ? null : keys.playPause; // Space presses the focused button
    case "k":
      return keys.playPause;
    case "m":
      return keys.mute;
    case "f":
      return keys.fullscreen;
    case "s":
      return keys.statistics;
    case "arrowup":
      return () => keys.volume(volumeStep);
    case "arrowdown":
      return () => keys.volume(-volumeStep);
    case "escape":
      return keys.dismiss;
    default:
      return null;
  }
}
