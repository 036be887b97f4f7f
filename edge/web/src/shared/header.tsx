import type { ComponentChildren } from "preact";
import { Mark } from "./mark.tsx";
import { fragmentOf } from "./token.ts";

/** The bar on top of every page; children stand at its right. */
export function Header({ token, children }: { token: string; children?: ComponentChildren }) {
  return (
    <header class="wide top">
      <a class="brand" href={`/${fragmentOf(token)}`} aria-label="Banyan, all live streams">
        <Mark />
        <span>Banyan</span>
      </a>
      <nav aria-label="Pages">{children}</nav>
    </header>
  );
}
