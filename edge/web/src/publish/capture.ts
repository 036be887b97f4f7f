/** Cameras, microphones and screens of this machine. */

export interface Devices {
  cameras: MediaDeviceInfo[];
  microphones: MediaDeviceInfo[];
}

export interface Choice {
  source: "camera" | "screen";
  /** Device ids; empty for the browser's default. */
  camera: string;
  microphone: string;
  /** Picture height to ask for. */
  height: number;
}

/** Microphone identifier for a broadcast without one. */
export const noMicrophone = "none";

/** Names are empty until the person has allowed a device once. */
export async function listDevices(): Promise<Devices> {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return {
    cameras: all.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId !== ""),
    microphones: all.filter(({ kind, deviceId }) => kind === "audioinput" && deviceId !== ""),
  };
}

/** Opens what was chosen. Rejects with an Error whose message says what to do. */
export async function capture(choice: Choice): Promise<MediaStream> {
  if (navigator.mediaDevices === undefined) {
    throw new Error("Browsers give cameras only to https pages and to localhost. Open this page that way.");
  }
  try {
    return choice.source === "screen"
      ? await captureScreen(choice)
      : await navigator.mediaDevices.getUserMedia(constraints(choice));
  } catch (error) {
    throw new Error(reason(error, choice.source), { cause: error });
  }
}

function constraints({ camera, microphone, height }: Choice): MediaStreamConstraints {
  return {
    video: {
      ...(camera === "" ? {} : { deviceId: { exact: camera } }),
      height: { ideal: height },
      width: { ideal: Math.round((height * 16) / 9) },
      frameRate: { ideal: 30 },
    },
    audio:
      microphone === noMicrophone ? false : microphone === "" ? true : { deviceId: { exact: microphone } },
  };
}

/** A screen, with its own sound where the browser has it, else with the microphone. */
async function captureScreen({ microphone, height }: Choice): Promise<MediaStream> {
  const screen = await navigator.mediaDevices.getDisplayMedia({
    video: { height: { max: height }, frameRate: { ideal: 30 } },
    audio: true,
  });
  // Text wants sharpness more than motion.
  for (const track of screen.getVideoTracks()) track.contentHint = "detail";
  if (screen.getAudioTracks().length > 0 || microphone === noMicrophone) return screen;
  const voice = await navigator.mediaDevices
    .getUserMedia({ audio: microphone === "" ? true : { deviceId: { exact: microphone } } })
    .catch(() => null);
  for (const track of voice?.getAudioTracks() ?? []) screen.addTrack(track);
  return screen;
}

function reason(error: unknown, source: Choice["source"]): string {
  switch (error instanceof DOMException ? error.name : "") {
    case "NotAllowedError":
      return source === "screen"
        ? "Sharing the screen was not allowed."
        : "The browser was not allowed to use the camera or microphone. Allow it beside the address, then try again.";
    case "NotFoundError":
      return "No camera or microphone was found. Connect one, or share a screen.";
    case "NotReadableError":
      return "Another program is using the camera or microphone. Close it, then try again.";
    case "OverconstrainedError":
      return "The chosen device is gone. Choose another.";
    default:
      return `The ${source} could not be opened: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Lets the devices go; their lights turn off. */
export function release(media: MediaStream | null): void {
  for (const track of media?.getTracks() ?? []) track.stop();
}
