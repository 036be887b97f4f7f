/** HLS without Media Source Extensions, as on iPhones: the video element does everything and tells little. */

import { type Counters, hlsDelay, RateWindow } from "../shared/delay.ts";
import { type Failure, failure } from "./failure.ts";
import type { Playback, Sample } from "./playback.ts";

export class NativePlayback implements Playback {
  readonly transport = "hls";
  readonly moves = false; // the element would begin anew
  readonly soundOnly = false; // a playlist makes no such promise
  readonly ended: Promise<Failure>;
  private readonly window = new RateWindow();

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly now: () => number,
    url: string,
  ) {
    this.ended = new Promise((resolve) => {
      video.addEventListener("error", () => resolve(failure("stalled", "The video element stopped.")), {
        once: true,
      });
    });
    video.src = url;
  }

  move(): Promise<boolean> {
    return Promise.resolve(false);
  }

  select(): Promise<boolean> {
    return Promise.resolve(true); // the element chooses; there is nothing to set
  }

  toLive(): void {
    const { seekable } = this.video;
    if (seekable.length > 0) this.video.currentTime = seekable.end(seekable.length - 1);
  }

  close(): void {
    this.video.removeAttribute("src");
    this.video.load();
  }

  renditions(): null {
    return null; // the element keeps them to itself
  }

  sample(): Promise<Sample> {
    const { video } = this;
    const quality = video.getVideoPlaybackQuality?.();
    const counters: Counters =
      quality === undefined
        ? {}
        : { framesDecoded: quality.totalVideoFrames, framesDropped: quality.droppedVideoFrames };
    const began = (video as { getStartDate?(): Date }).getStartDate?.().getTime() ?? NaN;
    const playing = Number.isNaN(began) ? null : new Date(began + video.currentTime * 1000);
    return Promise.resolve({
      progress: video.currentTime,
      counters,
      rates: this.window.add(performance.now(), counters),
      delayMs: hlsDelay(this.now(), playing),
      width: video.videoWidth,
      height: video.videoHeight,
      format: "",
      videoCodec: "",
      audioCodec: "",
      extra: [],
    });
  }
}
