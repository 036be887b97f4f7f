import { type Signal, useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect } from "preact/hooks";

const idleMs = 2600;

/** True while nobody has moved, touched or typed for a moment, and nothing inside has keyboard focus. */
export function useIdle(area: RefObject<HTMLElement | null>): Signal<boolean> {
  const idle = useSignal(false);
  useEffect(() => {
    const element = area.current!;
    let timer: ReturnType<typeof setTimeout>;
    const rest = () => {
      // Controls that hold the keyboard's focus must not vanish under it.
      idle.value = element.querySelector(":focus-visible, [role=menu]") === null;
      if (!idle.value) timer = setTimeout(rest, idleMs);
    };
    const wake = () => {
      clearTimeout(timer);
      idle.value = false;
      timer = setTimeout(rest, idleMs);
    };
    const leave = (event: PointerEvent) => {
      // A finger leaves with each tap, also with the one that is to wake the controls.
      if (event.pointerType !== "mouse") return;
      clearTimeout(timer);
      timer = setTimeout(rest, 400);
    };
    wake();
    for (const event of ["pointermove", "pointerdown", "focusin"]) element.addEventListener(event, wake);
    element.addEventListener("pointerleave", leave);
    document.addEventListener("keydown", wake);
    return () => {
      clearTimeout(timer);
      for (const event of ["pointermove", "pointerdown", "focusin"]) element.removeEventListener(event, wake);
      element.removeEventListener("pointerleave", leave);
      document.removeEventListener("keydown", wake);
    };
  }, []);
  return idle;
}
