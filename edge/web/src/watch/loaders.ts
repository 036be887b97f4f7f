/**
 * What hls.js loads by, with three things that it lacks.
 *
 * The loader of playlists waits for as long as the server holds a blocking
 * request back. hls.js gives up after three parts or most of a segment, and
 * then asks once a second only until something new is listed: a viewer would
 * see the publisher come back up to a second later than it did.
 *
 * The loader of media tells how long every load took, also of those that are
 * given up.
 *
 * Both ask at the edge in use for what they had asked of one that was left
 * meanwhile and that failed, as it ends soon after. Where the edge in use does
 * not answer, they ask another one at once. hls.js would turn to another
 * pathway: it loads once more what plays, and the picture stands.
 */

import type Hls from "hls.js";
import type {
  FragmentLoaderConstructor,
  FragmentLoaderContext,
  LoaderConfiguration,
  LoaderStats,
  PlaylistLoaderConstructor,
  PlaylistLoaderContext,
  RetryConfig,
} from "hls.js";

/** Where addresses are loaded from. */
export interface Addresses {
  /** Where an address is loaded from now. */
  of(url: string): string;
  /** Turns to another edge, as the one in use does not answer. False where there is none. */
  turn(): boolean;
}

/**
 * The configuration of a request that is made once more where its address leads elsewhere by the time that it fails, or
 * where nobody answers at all and there is another edge.
 */
export function rerouted(config: LoaderConfiguration, url: string, route: Addresses): LoaderConfiguration {
  const { loadPolicy } = config;
  if (loadPolicy.errorRetry !== null) return config; // it is made again in any case
  const asked = route.of(url);
  const errorRetry: RetryConfig = {
    maxNumRetry: 1,
    retryDelayMs: 0,
    maxRetryDelayMs: 0,
    shouldRetry: (_, retries, __, response) =>
      retries === 0 && (route.of(url) !== asked || (response?.code === 0 && route.turn())),
  };
  return { ...config, loadPolicy: { ...loadPolicy, errorRetry } };
}

/** The server answers blocking requests within that many target durations, with 503 if need be. */
const heldTargets = 3;
/** For the line, on top. */
const lineMs = 2000;

/** How long an answer may take: longer than hls.js would wait, where the request is a blocking one. */
export function patience({ deliveryDirectives, levelOrTrack }: Waiting, defaultMs: number): number {
  const details = levelOrTrack?.details;
  if (deliveryDirectives?.msn === undefined || !details) return defaultMs;
  return Math.max(defaultMs, heldTargets * details.targetduration * 1000 + lineMs);
}

/** What patience looks at in the context of a request. */
export interface Waiting {
  deliveryDirectives: { msn?: number } | null;
  levelOrTrack: { details?: { targetduration: number } | null } | null;
}

/** The library's own loader with patience. */
export function patientLoader(library: typeof Hls, route: Addresses): PlaylistLoaderConstructor {
  const Loader = library.DefaultConfig.loader;
  class PatientLoader extends Loader {
    override load(...[context, config, callbacks]: Parameters<InstanceType<typeof Loader>["load"]>): void {
      const { loadPolicy } = config;
      const maxTimeToFirstByteMs = patience(context as PlaylistLoaderContext, loadPolicy.maxTimeToFirstByteMs);
      const maxLoadTimeMs = Math.max(loadPolicy.maxLoadTimeMs, maxTimeToFirstByteMs);
      const patient = { ...config, loadPolicy: { ...loadPolicy, maxTimeToFirstByteMs, maxLoadTimeMs } };
      super.load(context, rerouted(patient, context.url, route), callbacks);
    }
  }
  return PatientLoader as unknown as PlaylistLoaderConstructor; // the loader of DefaultConfig serves every kind
}

/** Who wants to know of loads: how many bytes, in how many milliseconds, after how long a wait for the first. */
export interface Gauge {
  begin(load: () => Progress | null): void;
  add(bytes: number, ms: number, waitMs: number): void;
}

/** How far a load is: bytes so far, and when it began, by performance.now(). */
export interface Progress {
  bytes: number;
  since: number;
}

/** The library's own loader, which reports each load of picture. */
export function measuringLoader(library: typeof Hls, gauge: Gauge, route: Addresses): FragmentLoaderConstructor {
  const Loader = library.DefaultConfig.loader;
  class MeasuringLoader extends Loader {
    private measured = false;

    override load(...[context, config, callbacks]: Parameters<InstanceType<typeof Loader>["load"]>): void {
      this.measured = (context as FragmentLoaderContext).frag.type !== "main";
      if (!this.measured) gauge.begin(() => this.progress());
      super.load(context, rerouted(config, context.url, route), {
        ...callbacks,
        onSuccess: (response, stats, context, details) => {
          this.measure(stats, stats.loading.end);
          callbacks.onSuccess(response, stats, context, details);
        },
      });
    }

    override abort(): void {
      this.measure(this.stats, performance.now());
      super.abort();
    }

    private progress(): Progress | null {
      const stats = this.stats as LoaderStats | null; // null once the loader is destroyed
      if (this.measured || stats === null || stats.loading.start === 0) return null;
      return { bytes: stats.loaded, since: stats.loading.start };
    }

    private measure(stats: LoaderStats | null, end: number): void {
      if (this.measured || stats === null || stats.loading.start === 0) return;
      const { loaded, loading } = stats;
      const { start, first } = loading;
      this.measured = true;
      gauge.add(loaded, end - start, first === 0 ? 0 : first - start);
    }
  }
  return MeasuringLoader as unknown as FragmentLoaderConstructor; // the loader of DefaultConfig serves every kind
}
