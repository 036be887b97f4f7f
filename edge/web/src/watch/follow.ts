/**
 * Keeps a player at its place behind the live edge: a little faster while it
 * is behind, a jump when it is far behind. It reads no clock: time comes in.
 *
 * hls.js could do it, but speeds up only while more than a second is
 * buffered, which with parts of 200 ms is more than the whole delay; and it
 * never jumps.
 */

/** Where the playhead is. All figures in seconds. */
export interface Place {
  /** Of the newest media that the playlist lists, as it moves on with the clock. */
  latency: number;
  /** What latency ought to be, by the playlist. */
  target: number;
  /** Playable without a break from the playhead on. */
  ahead: number;
  /** Since the playlist last listed something new. */
  age: number;
  /** How far back from the newest media there is no gap. */
  unbroken: number;
  /** Playback has begun, and the browser has halted it. */
  standing: boolean;
}

export interface Move {
  rate: number;
  /** Seconds behind the edge to go to at once. */
  jumpTo?: number;
  /** Seek to where playback stands, which makes the browser play on. */
  resume?: boolean;
}

/** The fastest playback; more could be heard even in speech. */
const fastest = 1.25;
/** Speeding up begins that far behind the target, and ends nearly at it, so that the rate does not flutter. */
const beginAt = 0.12;
const endAt = 0.02;
/** What must be left in the buffer to play faster. */
const reserve = 0.3;
/** Further behind than this for so long is not worth catching up with by speed. */
const far = { behind: 1.5, forMs: 2000 };
/** The same where playback has come to a halt: there is nothing to lose by a jump. */
const halted = { behind: 0.5, forMs: 700 };
/**
 * Playback that stands with so much in the buffer for so long is told to go on, by a seek to where it stands. Chromium
 * goes on by itself with 0.2 s of sound after the first halt, and wants twice as much after each further one, up to
 * seconds, which so close to the edge take as long to come. A seek sets that back.
 */
const hesitant = { ahead: 0.35, forMs: 200 };
/** With less than this in the buffer playback halts. */
const dry = 0.1;
/** A playlist that has listed nothing for so long is waiting for its publisher, and the edge is not where it was. */
const staleAge = 1.2;
/** A playlist that has listed something within this time is being written. */
const freshAge = 0.5;
/** A break in playback moves the target back, and each calm half minute forward again. */
const step = 0.2;
const mostExtra = 2;
const calmMs = 30_000;
/** How long a jump may take before another. */
const settleMs = 1500;

export class Follower {
  private extra = 0;
  private calmSince: number;
  private farSince: number | null = null;
  private jumped = -Infinity;
  private standsSince: number | null = null;
  private away = false;
  private broke = false;
  private fast = false;

  constructor(now: number) {
    this.calmSince = now;
  }

  /** Playback broke off for lack of media. Whether the line is to blame shows with what the playlist lists next. */
  stalled(): void {
    this.broke = true;
  }

  /** The playhead was moved by somebody else. */
  moved(now: number): void {
    this.jumped = now;
    this.farSince = null;
    this.standsSince = null;
  }

  follow(now: number, place: Place): Move {
    this.judge(now, place.age);
    if (this.hesitates(now, place)) {
      this.moved(now);
      return { ...this.steady(), resume: true };
    }
    if (place.age > staleAge) {
      this.away = true;
      return this.steady();
    }
    const target = place.target + this.extra;
    const behind = place.latency - target;
    // With a gap at the edge nobody knows yet where media will go on.
    const whole = place.unbroken > 0 && place.age + place.unbroken >= target;
    if (this.shouldJump(now, behind, place.ahead) && whole) {
      this.moved(now);
      return { ...this.steady(), jumpTo: target };
    }
    return { rate: this.rate(behind, place.ahead) };
  }

  /** Moves the target: back after a break that the line made, forward in calm times. */
  private judge(now: number, age: number): void {
    if (this.broke && age > staleAge) this.broke = false; // the publisher was away
    if (this.broke && age < freshAge) {
      this.broke = false;
      this.extra = Math.min(this.extra + step, mostExtra);
      this.calmSince = now;
    }
    if (now - this.calmSince > calmMs) {
      this.extra = Math.max(0, this.extra - step);
      this.calmSince = now;
    }
  }

  /** Whether playback stands although there is something to play. */
  private hesitates(now: number, { standing, ahead }: Place): boolean {
    if (!standing || ahead < hesitant.ahead) {
      this.standsSince = null;
      return false;
    }
    this.standsSince ??= now;
    return now - this.standsSince >= hesitant.forMs && now - this.jumped >= settleMs;
  }

  private shouldJump(now: number, behind: number, ahead: number): boolean {
    const limit = ahead < dry ? halted : far;
    if (behind <= limit.behind) {
      this.away = false;
      this.farSince = null;
      return false;
    }
    this.farSince ??= now;
    // When the publisher is back there is nothing left to catch up with.
    const patience = this.away ? 0 : limit.forMs;
    return now - this.farSince >= patience && now - this.jumped >= settleMs;
  }

  private steady(): Move {
    this.fast = false;
    return { rate: 1 };
  }

  private rate(behind: number, ahead: number): number {
    this.fast = behind > (this.fast ? endAt : beginAt) && ahead > reserve;
    if (!this.fast) return 1;
    // In steps of a twentieth: each change costs the browser some work on the sound.
    const rate = 1.05 + Math.floor(Math.min(behind, ahead - reserve) * 8) / 20;
    return Math.min(rate, fastest);
  }
}
