/**
 * When a page that fell back to HLS tries WebRTC again, behind the picture that plays. It reads no clock: time comes in,
 * in milliseconds.
 *
 * Where WebRTC has brought a picture before, the network lets it through: what failed was an encoder, a node or a machine
 * that was too busy, and may be well in seconds. Where it never has, the network most likely blocks it, and goes on to.
 * Each try doubles the wait for the next, so that even a page that is open for a day makes few; and only a WebRTC that
 * has flowed for a while brings the short waits back, so that one which works for moments does not tear the picture.
 */

/** The first waits, behind an HLS that plays. */
const provenMs = 10_000;
const unprovenMs = 60_000;
/** For how long WebRTC has to flow to be trusted again. */
const wellMs = 60_000;

export class Comeback {
  /** WebRTC has brought a picture to this page. */
  private proven = false;
  private tries = 0;

  /** WebRTC has played for so long since it was opened. */
  flows(forMs: number): void {
    if (!this.proven) this.tries = 0;
    this.proven = true;
    if (forMs >= wellMs) this.tries = 0;
  }

  /** Whether it is time for a try, as HLS has played for so long since it was opened or since the last one. */
  due(playedMs: number): boolean {
    return playedMs >= (this.proven ? provenMs : unprovenMs) * 2 ** this.tries;
  }

  tried(): void {
    this.tries++;
  }
}
