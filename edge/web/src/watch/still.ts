import type { StillPicture } from "./player.ts";

/** Keeps the last picture of a video in a canvas that covers it. */
export function stillOn(video: HTMLVideoElement, canvas: HTMLCanvasElement): StillPicture {
  return {
    keep() {
      if (video.videoWidth === 0 || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
      canvas.getContext("2d")?.drawImage(video, 0, 0);
      canvas.hidden = false;
    },
    drop() {
      canvas.hidden = true;
    },
  };
}
