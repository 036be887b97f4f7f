/**
 * What hls.js loads by, with four things that it lacks.
 *
 * Both loaders go on at another edge where the one in use does not answer, or
 * was left: they ask there for the same again, and hls.js learns nothing of it.
 * It would itself turn to another pathway: it loads once more what plays, so
 * that the picture stands until the next keyframe, and may never play again.
 *
 * The loader of playlists makes what another edge lists the continuation of
 * what the player has.
 *
 * It waits for as long as the server holds a blocking request back. hls.js
 * gives up after three parts or most of a segment, and then asks once a second
 * only until something new is listed: a viewer would see the publisher come
 * back up to a second later than it did.
 *
 * The loader of media tells how long every load took, also of those that are
 * given up.
 */

import type Hls from "hls.js";
import type {
  FragmentLoaderConstructor,
  FragmentLoaderContext,
  HlsConfig,
  LevelDetails,
  Loader,
  LoaderCallbacks,
  LoaderConfiguration,
  LoaderContext,
  LoaderStats,
  PlaylistLoaderConstructor,
  PlaylistLoaderContext,
  RetryConfig,
} from "hls.js";
import { continued } from "./continuation.ts";
import { Attempts, type Addresses } from "./attempts.ts";

/** The library's loader, with what is not public of it. */
type Retrying = new (config: HlsConfig) => Loader<LoaderContext> & { retry(policy: RetryConfig): void };

/** What is asked for, and how often it was refused. */
export interface Asked extends LoaderContext {
  refused?: number;
}

/** The address to open for a request. Caches keep what was refused, so that it is asked for by another name. */
export function addressOf(url: string, { refused }: Partial<Asked>, route: Addresses): string {
  const at = route.of(url);
  return refused === undefined ? at : `${at}${at.includes("?") ? "&" : "?"}again=${refused}`;
}

/** For requests that come to nothing, which are made again by shouldRetry only. */
function policyOf(shouldRetry: NonNullable<RetryConfig["shouldRetry"]>): RetryConfig {
  return { maxNumRetry: Infinity, retryDelayMs: 0, maxRetryDelayMs: 0, backoff: "linear", shouldRetry };
}

/** The library's own loader, which goes on at another edge. */
function failoverLoader(library: typeof Hls, route: Addresses) {
  const Base = library.DefaultConfig.loader as unknown as Retrying;
  return class FailoverLoader extends Base {
    private attempts: Attempts | null = null;
    private doubts: ReturnType<typeof setTimeout> | undefined;

    override load(context: LoaderContext, config: LoaderConfiguration, callbacks: LoaderCallbacks<LoaderContext>): void {
      const asked: Asked = context;
      const attempts = (this.attempts = new Attempts(context.url, route));
      const errorRetry = policyOf((policy, _, __, response) => {
        const wait = attempts.next(response?.code ?? 0, performance.now());
        if (wait === null || !policy) return false;
        if (wait > 0 && response?.code !== 0) asked.refused = (asked.refused ?? 0) + 1;
        policy.retryDelayMs = policy.maxRetryDelayMs = wait;
        this.doubt();
        return true;
      });
      this.doubt();
      super.load(context, { ...config, loadPolicy: { ...config.loadPolicy, errorRetry } }, {
        ...callbacks,
        onSuccess: (response, stats, context, details) => {
          clearTimeout(this.doubts);
          attempts.succeeded(stats.loading.first - stats.loading.start);
          callbacks.onSuccess(response, stats, context, details);
        },
      });
    }

    override abort(): void {
      clearTimeout(this.doubts);
      super.abort();
    }

    override destroy(): void {
      clearTimeout(this.doubts);
      super.destroy();
    }

    /** Looks after a while whether there is an answer, and if not, whether its edge lives; less and less often. */
    private doubt(times = 0): void {
      clearTimeout(this.doubts);
      this.doubts = setTimeout(() => void this.question(times), route.answering.limitMs * 2 ** times);
    }

    private async question(times: number): Promise<void> {
      const { attempts } = this;
      if (attempts === null || !this.isWaiting()) return;
      const gone = await attempts.isVain();
      if (!this.isWaiting()) return;
      const wait = gone ? attempts.next(0, performance.now()) : null;
      if (wait !== null) this.retry({ maxNumRetry: Infinity, retryDelayMs: wait, maxRetryDelayMs: wait, backoff: "linear" });
      this.doubt(gone ? 0 : times + 1);
    }

    private isWaiting(): boolean {
      const stats = this.stats as LoaderStats | null; // null once the loader is destroyed
      return stats !== null && !stats.aborted && stats.loading.first === 0;
    }
  };
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

/** What a player has of a playlist so far; null where there is nothing that an answer could continue. */
function beginningOf(details: LevelDetails | null | undefined) {
  if (!details?.live) return null;
  const { startSN: segment, partList } = details;
  return { segment, parts: partList?.[0]?.fragment.sn ?? segment };
}

/** The library's own loader with failover, patience, and playlists that continue. */
export function patientLoader(library: typeof Hls, route: Addresses): PlaylistLoaderConstructor {
  class PatientLoader extends failoverLoader(library, route) {
    override load(...[context, config, callbacks]: Parameters<Loader<LoaderContext>["load"]>): void {
      const { loadPolicy } = config;
      const waiting = context as PlaylistLoaderContext;
      const maxTimeToFirstByteMs = patience(waiting, loadPolicy.maxTimeToFirstByteMs);
      const maxLoadTimeMs = Math.max(loadPolicy.maxLoadTimeMs, maxTimeToFirstByteMs);
      super.load(context, { ...config, loadPolicy: { ...loadPolicy, maxTimeToFirstByteMs, maxLoadTimeMs } }, {
        ...callbacks,
        onSuccess: (response, stats, context, details) => {
          const from = beginningOf(waiting.levelOrTrack?.details);
          const data = from !== null && typeof response.data === "string" ? continued(response.data, from) : response.data;
          callbacks.onSuccess({ ...response, data }, stats, context, details);
        },
      });
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

/** The library's own loader with failover, which reports each load of picture. */
export function measuringLoader(library: typeof Hls, gauge: Gauge, route: Addresses): FragmentLoaderConstructor {
  class MeasuringLoader extends failoverLoader(library, route) {
    private measured = false;

    override load(...[context, config, callbacks]: Parameters<Loader<LoaderContext>["load"]>): void {
      this.measured = (context as FragmentLoaderContext).frag.type !== "main";
      if (!this.measured) gauge.begin(() => this.progress());
      super.load(context, config, {
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
