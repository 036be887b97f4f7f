import { isStreamName } from "../shared/names.ts";
import { type Choice, type Devices, noMicrophone } from "./capture.ts";

export interface Terms {
  stream: string;
  token: string;
  /** Bits per second of the video. */
  maxBitrate: number;
}

interface Props {
  terms: Terms;
  choice: Choice;
  devices: Devices;
  /** A source is open. */
  open: boolean;
  /** Publishing, or trying to. */
  busy: boolean;
  onTerms(change: Partial<Terms>): void;
  onChoice(change: Partial<Choice>): void;
  onBegin(): void;
  onStop(): void;
}

const qualities = [
  { label: "360p, 0.8 Mb/s", height: 360, maxBitrate: 800_000 },
  { label: "720p, 2.5 Mb/s", height: 720, maxBitrate: 2_500_000 },
  { label: "1080p, 5 Mb/s", height: 1080, maxBitrate: 5_000_000 },
];

export function PublishForm({
  terms,
  choice,
  devices,
  open,
  busy,
  onTerms,
  onChoice,
  onBegin,
  onStop,
}: Props) {
  const bad = terms.stream !== "" && !isStreamName(terms.stream);
  return (
    <form
      class="publish-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (busy) onStop();
        else onBegin();
      }}
    >
      <label class="field">
        <span>Stream name</span>
        <input
          value={terms.stream}
          disabled={busy}
          required
          placeholder="cup/cam1"
          autocapitalize="none"
          spellcheck={false}
          aria-invalid={bad}
          aria-describedby="name-help"
          onInput={(event) => onTerms({ stream: event.currentTarget.value.trim() })}
        />
        <small id="name-help">
          {bad
            ? "One to four parts joined by “/”, each of letters, digits, “-” and “_”."
            : "People watch under this name."}
        </small>
      </label>
      <label class="field">
        <span>Token</span>
        <input
          type="password"
          value={terms.token}
          disabled={busy}
          autocomplete="off"
          placeholder="Needed unless publishing is open"
          onInput={(event) => onTerms({ token: event.currentTarget.value.trim() })}
        />
      </label>
      {open && (
        <Select
          label="Source"
          value={choice.source}
          disabled={busy}
          onPick={(source) => onChoice({ source: source as Choice["source"] })}
          options={[
            ["camera", "Camera"],
            ["screen", "Screen, window or tab"],
          ]}
        />
      )}
      {open && choice.source === "camera" && devices.cameras.length > 1 && (
        <Select
          label="Camera"
          value={choice.camera}
          disabled={busy}
          onPick={(camera) => onChoice({ camera })}
          options={[["", "Default camera"], ...named(devices.cameras, "Camera")]}
        />
      )}
      {open && (
        <Select
          label="Microphone"
          value={choice.microphone}
          disabled={busy}
          onPick={(microphone) => onChoice({ microphone })}
          options={[
            ["", "Default microphone"],
            ...named(devices.microphones, "Microphone"),
            [noMicrophone, "None"],
          ]}
        />
      )}
      <Select
        label="Quality"
        value={String(choice.height)}
        disabled={busy}
        options={qualities.map(({ label, height }) => [String(height), label])}
        onPick={(height) => {
          const quality = qualities.find((quality) => String(quality.height) === height)!;
          onTerms({ maxBitrate: quality.maxBitrate });
          if (open) onChoice({ height: quality.height });
        }}
      />
      <button
        type="submit"
        class={`button ${busy ? "quiet" : ""}`}
        disabled={!busy && (bad || terms.stream === "")}
      >
        {busy ? "Stop" : "Go live"}
      </button>
    </form>
  );
}

function Select(props: {
  label: string;
  value: string;
  disabled: boolean;
  options: (readonly [string, string])[];
  onPick(value: string): void;
}) {
  return (
    <label class="field">
      <span>{props.label}</span>
      <select
        value={props.value}
        disabled={props.disabled}
        onChange={(event) => props.onPick(event.currentTarget.value)}
      >
        {props.options.map(([value, label]) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </select>
    </label>
  );
}

function named(devices: MediaDeviceInfo[], kind: string): [string, string][] {
  return devices
    .filter(({ deviceId }) => deviceId !== "default")
    .map(({ deviceId, label }, index) => [deviceId, label || `${kind} ${index + 1}`]);
}
