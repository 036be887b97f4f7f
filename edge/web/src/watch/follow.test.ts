import { describe, expect, it } from "vitest";
import { Follower, type Place } from "./follow.ts";

const target = 0.66;
const tickMs = 100;

/** A playhead that goes as it is told, on a line that keeps `spare` seconds between the edge and the buffer's end. */
class Playhead {
  now = 0;
  latency: number;
  age = 0.1;
  unbroken = 30;
  jumps = 0;
  resumes = 0;
  standing = false;
  rates = new Set<number>();
  private readonly follower = new Follower(0);

  constructor(
    latency: number,
    private readonly spare = 0.1,
  ) {
    this.latency = latency;
  }

  stall(): void {
    this.follower.stalled();
  }

  play(ms: number): this {
    for (const end = this.now + ms; this.now < end; this.now += tickMs) {
      const { latency, age, unbroken, standing } = this;
      const place: Place = { latency, target, ahead: Math.max(0, latency - this.spare), age, unbroken, standing };
      const move = this.follower.follow(this.now, place);
      this.rates.add(move.rate);
      if (move.resume === true) this.resumes++;
      if (move.jumpTo !== undefined) {
        this.jumps++;
        this.latency = move.jumpTo;
      }
      this.latency -= ((move.rate - 1) * tickMs) / 1000;
    }
    return this;
  }
}

describe("follower", () => {
  it("catches up by speed and then plays on steadily", () => {
    const head = new Playhead(1.8).play(12_000);
    expect(head.jumps).toBe(0);
    expect(Math.max(...head.rates)).toBeLessThanOrEqual(1.25);
    expect(head.latency).toBeGreaterThan(target - 0.02);
    expect(head.latency).toBeLessThan(target + 0.12);
    head.rates.clear();
    expect([...head.play(5000).rates]).toEqual([1]);
  });

  it("never speeds up on a buffer that is nearly empty", () => {
    const head = new Playhead(1.2, 1).play(5000);
    expect([...head.rates]).toEqual([1]);
  });

  it("jumps when it has been far behind for two seconds", () => {
    const head = new Playhead(20).play(1800);
    expect(head.jumps).toBe(0);
    head.play(1000);
    expect(head.jumps).toBe(1);
    expect(head.latency).toBeCloseTo(target, 1);
  });

  it("jumps sooner where playback has come to a halt", () => {
    const head = new Playhead(target + 0.6, target + 0.6);
    head.play(600);
    expect(head.jumps).toBe(0);
    expect(head.play(300).jumps).toBe(1);
  });

  it("has playback that stands with something to play go on", () => {
    const head = new Playhead(1.2);
    head.standing = true;
    expect(head.play(200).resumes).toBe(0); // the browser goes on by itself
    expect(head.play(200).resumes).toBe(1);
    expect(head.play(1000).resumes).toBe(1); // while that takes its time
    expect(head.play(500).resumes).toBe(2);
    head.standing = false;
    expect(head.play(3000).resumes).toBe(2);
    expect(head.jumps).toBe(0);
  });

  it("leaves playback alone that stands for want of media", () => {
    const head = new Playhead(0.8, 0.6);
    head.standing = true;
    expect(head.play(5000).resumes).toBe(0);
  });

  it("jumps at once when the publisher is back", () => {
    const head = new Playhead(0.7).play(1000);
    head.age = 5;
    expect([...head.play(5000).rates]).toEqual([1]);
    head.latency = 6;
    head.age = 0;
    expect(head.play(tickMs).jumps).toBe(1);
    expect(head.play(10_000).jumps).toBe(1);
  });

  it("waits for enough media behind the gap that the publisher left", () => {
    const head = new Playhead(0.7).play(1000);
    head.age = 5;
    head.play(5000);
    head.latency = 6;
    head.age = 0;
    head.unbroken = 0;
    for (head.age = 0; head.age < 2 * target; head.age += 0.1) expect(head.play(tickMs).jumps).toBe(0); // only the gap is listed
    head.age = 0;
    for (head.unbroken = 0; head.unbroken < target; head.unbroken += 0.2) expect(head.play(2 * tickMs).jumps).toBe(0);
    expect(head.play(tickMs).jumps).toBe(1);
  });

  it("does not jump again while a jump takes its time", () => {
    const follower = new Follower(0);
    let jumps = 0;
    for (let now = 0; now <= 5000; now += tickMs) {
      if (follower.follow(now, { latency: 30, target, ahead: 1, age: 0, unbroken: 30, standing: false }).jumpTo !== undefined) jumps++;
    }
    expect(jumps).toBe(2); // at 2 s, and two seconds later as it was of no use
  });

  it("leaves a playhead that was just moved by somebody else alone", () => {
    const follower = new Follower(0);
    const place: Place = { latency: 0.7, target, ahead: 0.5, age: 0, unbroken: 30, standing: true };
    follower.moved(0);
    expect(follower.follow(100, place).resume).toBeUndefined();
    expect(follower.follow(1400, place).resume).toBeUndefined();
    expect(follower.follow(1500, place).resume).toBe(true);
  });

  it("keeps more distance after a break, and comes back in calm times", () => {
    const head = new Playhead(target + 0.2).play(1000);
    head.latency = target + 0.2;
    head.stall();
    expect([...head.play(1000).rates]).toContain(1);
    expect(head.latency).toBeCloseTo(target + 0.2, 1);
    head.play(40_000);
    expect(head.latency).toBeLessThan(target + 0.12);
  });

  it("does not take an absent publisher for a bad line", () => {
    const head = new Playhead(target);
    head.age = 1; // the buffer runs dry before the publisher counts as away
    head.stall();
    head.play(200);
    head.age = 4;
    head.play(500);
    head.age = 0;
    head.latency = target + 0.2;
    head.play(3000);
    expect(head.latency).toBeLessThan(target + 0.12);
  });
});
