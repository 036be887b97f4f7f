/** Fullscreen of the stage with our controls; on iPhones only the video element can have it. */

type PhoneVideo = HTMLVideoElement & { webkitEnterFullscreen?(): void };

export function isFullscreen(): boolean {
  return document.fullscreenElement !== null;
}

export function toggleFullscreen(stage: HTMLElement, video: PhoneVideo): void {
  if (isFullscreen()) return void document.exitFullscreen();
  if (document.fullscreenEnabled) return void stage.requestFullscreen().catch(() => undefined);
  video.webkitEnterFullscreen?.();
}
