/** Sound: starting with it where the browser allows, and remembering the volume. */

import { signal } from "@preact/signals";

const key = "banyan.volume";

export class Sound {
  readonly muted = signal(false);
  /** 0 to 1. */
  readonly volume = signal(1);
  readonly paused = signal(true);
  /** The browser made us start muted; a tap brings sound. */
  readonly tapForSound = signal(false);
  /** The browser let nothing start; a tap starts the picture. */
  readonly tapToPlay = signal(false);

  constructor(private readonly video: HTMLVideoElement) {
    video.volume = this.volume.value = stored();
    const copy = () => {
      this.muted.value = video.muted || video.volume === 0;
      this.volume.value = video.volume;
      this.paused.value = video.paused;
      if (!video.muted) this.tapForSound.value = false;
      if (!video.paused) this.tapToPlay.value = false;
    };
    for (const event of ["volumechange", "play", "playing", "pause", "emptied"])
      video.addEventListener(event, copy);
  }

  /** Starts with sound if the browser lets a page do so unasked, else muted. */
  async play(): Promise<void> {
    try {
      await this.video.play();
    } catch (error) {
      if (!refused(error)) return; // a newer load took over, and plays itself
      this.video.muted = true;
      this.tapForSound.value = true;
      await this.video.play().catch((again: unknown) => {
        if (refused(again)) this.tapToPlay.value = true;
      });
    }
  }

  /** Called from a tap or a key, which is what browsers want before sound. */
  unmute(): void {
    this.video.muted = false;
    if (this.video.volume === 0) this.set(0.5);
    void this.video.play().catch(() => undefined);
  }

  toggleMute(): void {
    if (this.muted.value) this.unmute();
    else this.video.muted = true;
  }

  set(volume: number): void {
    this.video.volume = Math.min(1, Math.max(0, volume));
    this.video.muted = this.video.volume === 0;
    try {
      localStorage.setItem(key, this.video.volume.toFixed(2));
    } catch {
      // Storage is off: the volume lasts as long as the page.
    }
  }
}

function refused(error: unknown): boolean {
  return error instanceof DOMException && error.name === "NotAllowedError";
}

function stored(): number {
  try {
    const volume = Number(localStorage.getItem(key) ?? "1");
    return volume > 0 && volume <= 1 ? volume : 1;
  } catch {
    return 1;
  }
}
