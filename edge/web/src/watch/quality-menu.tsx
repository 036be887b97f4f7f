/** The menu of formats and transports: a button that opens a menu of radio items (WAI-ARIA menu button). */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { formatDetail, formatLabel } from "../shared/formats.ts";
import { Icon } from "../shared/icons.tsx";
import type { Player, Wish } from "./player.ts";

export function QualityMenu({ player }: { player: Player }) {
  const open = useSignal(false);
  const button = useRef<HTMLButtonElement>(null);
  const close = (returnFocus: boolean) => {
    open.value = false;
    if (returnFocus) button.current?.focus();
  };
  const label = player.wish.value.format === "auto" ? "Auto" : formatLabel(player.wish.value.format);
  return (
    <div class="quality">
      <button
        ref={button}
        type="button"
        class="control worded"
        aria-haspopup="menu"
        aria-expanded={open.value}
        aria-label={`Format and transport: ${label}`}
        onClick={() => void (open.value = !open.value)}
      >
        <Icon name="settings" />
        <span class="small">{label}</span>
      </button>
      {open.value && <Menu player={player} onClose={close} />}
    </div>
  );
}

function Menu({ player, onClose }: { player: Player; onClose(returnFocus: boolean): void }) {
  const menu = useRef<HTMLDivElement>(null);
  const wish = player.wish.value;

  useEffect(() => {
    const items = () => [...menu.current!.querySelectorAll<HTMLElement>("[role=menuitemradio]")];
    (menu.current!.querySelector<HTMLElement>("[aria-checked=true]") ?? items()[0])?.focus();
    const onPointer = (event: PointerEvent) => {
      const inside = event.target instanceof Node && menu.current?.parentElement?.contains(event.target);
      if (!inside) onClose(false);
    };
    document.addEventListener("pointerdown", onPointer);
    return () => document.removeEventListener("pointerdown", onPointer);
  }, []);

  const onKey = (event: KeyboardEvent) => {
    const items = [...menu.current!.querySelectorAll<HTMLElement>("[role=menuitemradio]")];
    const at = items.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      items.at(to % items.length)?.focus();
    } else if (event.key === "Escape") {
      event.preventDefault();
      onClose(true);
    } else if (event.key === "Tab") onClose(false);
  };

  const pick = (change: Partial<Wish>) => {
    void player.choose(change);
    onClose(true);
  };
  const item = (change: Partial<Wish>, checked: boolean, label: string, detail: string) => (
    <button
      key={label}
      type="button"
      role="menuitemradio"
      tabIndex={-1}
      aria-checked={checked}
      class="item"
      onClick={() => pick(change)}
    >
      <span class="item-check">{checked && <Icon name="check" size={18} />}</span>
      <span>
        {label}
        {detail !== "" && <small>{detail}</small>}
      </span>
    </button>
  );

  const choices = player.choices.value;
  const unlisted = wish.format !== "auto" && !choices.some(({ name }) => name === wish.format);
  return (
    <div class="menu" role="menu" aria-label="Format and transport" ref={menu} onKeyDown={onKey}>
      <div role="group" aria-label="Format">
        <h3>Format</h3>
        {item({ format: "auto" }, wish.format === "auto", "Auto", "the best the line carries")}
        {unlisted &&
          item({ format: wish.format }, true, formatLabel(wish.format), "not offered this way right now")}
        {choices.map((format) =>
          item(
            { format: format.name },
            wish.format === format.name,
            formatLabel(format.name),
            formatDetail(format),
          ),
        )}
      </div>
      <div role="group" aria-label="Transport">
        <h3>Transport</h3>
        {item(
          { transport: "auto" },
          wish.transport === "auto",
          "By itself",
          "WebRTC first, HLS where that fails",
        )}
        {item({ transport: "webrtc" }, wish.transport === "webrtc", "WebRTC", "least delay")}
        {item({ transport: "hls" }, wish.transport === "hls", "HLS", "any network, a second or two later")}
      </div>
    </div>
  );
}
