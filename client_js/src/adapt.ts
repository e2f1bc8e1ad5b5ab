/** What is learned of the network and of the reader. Pure: times are milliseconds on the caller's clock. */

/** Spread of the times between deliveries, as RFC 3550 (6.4.1) smooths it, with intervals in place of transit times. */
export class Jitter {
  #last: number | null = null;
  #usual: number | null = null;
  #ms = 0;

  /** Text has come. */
  delivered(now: number): void {
    const interval = this.#last === null ? null : now - this.#last;
    this.#last = now;
    if (interval === null) return;
    this.#usual ??= interval;
    const off = Math.abs(interval - this.#usual);
    this.#usual += (interval - this.#usual) / 16;
    this.#ms += (off - this.#ms) / 16;
  }

  /** The reader was away, or the connection was new: the next interval says nothing. */
  restart(): void {
    this.#last = null;
  }

  /** Milliseconds. */
  get ms(): number {
    return this.#ms;
  }

  /** The lead that hides it, in seconds: four times the mean deviation covers all but a few intervals in a hundred. */
  get leadS(): number {
    return (4 * this.#ms) / 1000;
  }
}

const IDLE_MS = 30_000; // a longer silence is no reading
const PRIOR_MS = 60_000; // what the setting counts as much as
const SLOWEST = 0.5;
const FASTEST = 2;

/** The reader's own speed, from how far they have scrolled, if they allow it; it starts from the setting. */
export class ReaderSpeed {
  readonly #setting: number;
  #offset: number | null = null;
  #at = 0;
  #read = 0;
  #ms = 0;

  /** `setting` in characters a second. */
  constructor(setting: number) {
    this.#setting = setting;
  }

  /** The reader has come to this character of the answer. A jump back, or a long silence, starts anew. */
  reached(offset: number, now: number): void {
    const ms = now - this.#at;
    if (this.#offset !== null && offset >= this.#offset && ms <= IDLE_MS) {
      this.#read += offset - this.#offset;
      this.#ms += ms;
    }
    this.#offset = offset;
    this.#at = now;
  }

  /** The reader stopped the text themselves: the time until the next character is no reading. */
  paused(): void {
    this.#offset = null;
  }

  /** Characters a second, between half and twice the setting: skimming is not reading. */
  get rate(): number {
    const prior = (this.#setting * PRIOR_MS) / 1000;
    const rate = ((this.#read + prior) * 1000) / (this.#ms + PRIOR_MS);
    return Math.min(FASTEST * this.#setting, Math.max(SLOWEST * this.#setting, rate));
  }
}
