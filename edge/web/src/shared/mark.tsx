/** The mark: a canopy whose branches have dropped roots. */
export function Mark({ size = 24 }: { size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 32 32"
      fill="none"
      stroke="currentColor"
      stroke-width="2.4"
      stroke-linecap="round"
      aria-hidden="true"
    >
      <path d="M3.5 15.5a12.5 10 0 0 1 25 0" />
      <path d="M16 6v21" />
      <path d="M16 13c-3 0-5 1.8-5 4.5V24" />
      <path d="M16 13c3 0 5 1.8 5 4.5V24" />
      <path d="M6 16v5" />
      <path d="M26 16v5" />
    </svg>
  );
}
