/**
 * Which errors make hls.js turn to another edge. It takes every gap in the
 * media, and all that the browser cannot play, for a fault of the edge, and
 * goes round all of them, though the media is the same on each. Only an edge
 * that does not answer, or that cannot, is worth leaving; one that says that
 * it has not got something answers.
 */

import type Hls from "hls.js";
import type { ErrorData, HlsConfig } from "hls.js";

type Controller = NonNullable<HlsConfig["contentSteeringController"]>;

/** The part of hls.js's controller that is private to it, and is to be told less. */
type Told = new (hls: Hls) => { onError(event: string, data: ErrorData): void };

/** Whether an error is the edge's own: no answer, none in time, or that it cannot serve. */
export function ofTheEdge(type: string, networkError: string, status: number | undefined): boolean {
  return type === networkError && (status === undefined || status === 0 || status >= 500);
}

/** The library's own content steering, deaf to all other errors. */
export function steadySteering(library: typeof Hls): Controller | undefined {
  const Base = library.DefaultConfig.contentSteeringController as unknown as Told | undefined;
  if (Base === undefined) return undefined;
  class SteadySteering extends Base {
    override onError(event: string, data: ErrorData): void {
      if (ofTheEdge(data.type, library.ErrorTypes.NETWORK_ERROR, data.response?.code)) super.onError(event, data);
    }
  }
  return SteadySteering as unknown as Controller;
}
