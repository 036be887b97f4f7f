import type { JSX } from "preact";

/** Icons on a 24 px grid, drawn in the text's colour. They are decoration: the control around one has the label. */
const paths = {
  play: <path d="M8 5.5v13l10.5-6.5z" fill="currentColor" />,
  pause: <path d="M8.5 5.5v13M15.5 5.5v13" stroke-width="3" />,
  sound: <path d="M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM15.5 9a4.2 4.2 0 0 1 0 6M18 6.5a7.8 7.8 0 0 1 0 11" />,
  muted: <path d="M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM16 9.5l5 5M21 9.5l-5 5" />,
  enlarge: <path d="M4.5 9V4.5H9M15 4.5h4.5V9M19.5 15v4.5H15M9 19.5H4.5V15" />,
  reduce: <path d="M9 4.5V9H4.5M19.5 9H15V4.5M15 19.5V15h4.5M4.5 15H9v4.5" />,
  settings: <path d="M4 7.5h9M17.5 7.5H20M4 16.5h2.5M11 16.5h9M15.25 5.25v4.5M8.75 14.25v4.5" />,
  chart: <path d="M5 19v-6M10 19V6M15 19v-9M20 19v-4" />,
  eye: (
    <path d="M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 14.8a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6z" />
  ),
  camera: <path d="M3.5 7.5h11v9h-11zM14.5 11l6-3v8l-6-3" />,
  screen: <path d="M3.5 5.5h17v10.5h-17zM9 19.5h6M12 16v3.5" />,
  check: <path d="M5.5 12.5l4 4 9-9.5" />,
  wave: <path d="M4 10v4M8 7v10M12 4v16M16 8v8M20 10.5v3" />,
} satisfies Record<string, JSX.Element>;

export function Icon({ name, size = 22 }: { name: keyof typeof paths; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      stroke-width="1.8"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {paths[name]}
    </svg>
  );
}
