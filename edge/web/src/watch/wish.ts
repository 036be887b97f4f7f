/** What the page's address pins: `?transport=hls&format=720p`. */

import { isStreamName } from "../shared/names.ts";
import type { Wish } from "./player.ts";

export function wishInQuery(query: string): Wish {
  const params = new URLSearchParams(query);
  const transport = params.get("transport");
  const format = params.get("format") ?? "";
  return {
    transport: transport === "hls" || transport === "webrtc" ? transport : "auto",
    // Format names obey the grammar of one segment of a stream name.
    format: isStreamName(format) && !format.includes("/") ? format : "auto",
  };
}
