/**
 * A stable window into the player, for end-to-end tests and for the curious:
 * `window.banyan`, and the same figures as `data-` attributes of the root
 * element. Names and meanings stay; new ones may come.
 */

import { effect } from "@preact/signals";
import type { Transport } from "../shared/formats.ts";
import type { Player, State, Wish } from "./player.ts";

export interface WatchHook {
  /** Grows when the meaning of a field changes. */
  readonly version: 1;
  readonly stream: string;
  /** `data-transport`: what plays now; `none` between sessions. */
  readonly transport: Transport | "none";
  /** `data-state` */
  readonly state: State;
  /** `data-format`: the format on screen; `auto` while that is unknown. */
  readonly format: string;
  /** `data-delay-ms`: live delay in milliseconds; null (attribute empty) while unknown. */
  readonly delayMs: number | null;
  /** `data-frames`: frames decoded since the page opened, over all sessions; renewed every 250 ms. */
  readonly frames: number;
  /** `data-edge`: base of the addresses that it plays from; empty for the page's own origin. */
  readonly edge: string;
  /** The overlay's words; empty when nothing is wrong. */
  readonly notice: string;
  /** Does what the menu does. */
  choose(wish: Partial<Wish>): Promise<void>;
}

declare global {
  interface Window {
    banyan?: WatchHook;
  }
}

/** Publishes the hook; returns how to stop keeping it up to date. */
export function publishHook(player: Player): () => void {
  window.banyan = {
    version: 1,
    stream: player.stream,
    get transport() {
      return player.transport.peek();
    },
    get state() {
      return player.state.peek();
    },
    get format() {
      return player.format.peek();
    },
    get delayMs() {
      return player.delayMs.peek();
    },
    get frames() {
      return player.frames.peek();
    },
    get edge() {
      return player.edge.peek();
    },
    get notice() {
      const notice = player.notice.peek();
      return notice === null ? "" : `${notice.title}. ${notice.detail}`;
    },
    choose: (wish) => player.choose(wish),
  };
  const { dataset } = document.documentElement;
  return effect(() => {
    dataset["transport"] = player.transport.value;
    dataset["state"] = player.state.value;
    dataset["format"] = player.format.value;
    dataset["delayMs"] = String(player.delayMs.value ?? "");
    dataset["edge"] = player.edge.value;
    dataset["frames"] = String(player.frames.value);
  });
}
