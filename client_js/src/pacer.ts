/**
 * Shows text at a reader's pace: the client half of Andes' token buffer.
 *
 * Pure: time is an argument. `now` and `wakeAt` are milliseconds on any clock that only goes forward, speeds are
 * characters (Unicode code points) a second. The first character of a delivery is due at once if nothing stands before it,
 * each further one 1/rate later, and no sooner than it has come: the recurrence of `pacing.json` in the shared vectors.
 */

import { codePoints, cut } from "./graphemes.ts";

/** `rate` in characters a second, Infinity for no pacing; after the end of the stream `afterEnd` times as fast. */
export interface PacerOptions {
  readonly rate: number;
  readonly afterEnd?: number;
}

/** What is to be shown now, and when to ask again (null: when something changes). */
export interface Taken {
  readonly text: string;
  readonly wakeAt: number | null;
}

/** How long a last cluster waits for a part of it that may still come, in milliseconds. */
export const OPEN_CLUSTER_MS = 250;

// A due time is a sum of many 1/rate: this much of a character too early counts as due.
const ROUNDING = 1e-6;

export class Pacer {
  #rate: number;
  readonly #afterEnd: number;
  #text = "";
  #half = ""; // a surrogate whose other half has not come
  #buffered = 0;
  #shown = 0;
  #due = -Infinity; // when the next character is due
  #pushed = 0;
  #ended = false;
  #pausedAt: number | null = null;

  constructor({ rate, afterEnd = 2 }: PacerOptions) {
    this.#rate = rate;
    this.#afterEnd = afterEnd;
  }

  /** Characters that have come and are not shown. They are held, so a longer answer takes more memory. */
  get buffered(): number {
    return this.#buffered;
  }

  /** Characters that were taken. */
  get shown(): number {
    return this.#shown;
  }

  get ended(): boolean {
    return this.#ended;
  }

  get paused(): boolean {
    return this.#pausedAt !== null;
  }

  /** Everything has come and was taken. */
  get finished(): boolean {
    return this.#ended && this.#buffered === 0;
  }

  /** More text has come. */
  push(text: string, now: number): void {
    const whole = this.#half + text;
    this.#half = /[\ud800-\udbff]$/.test(whole) ? whole.slice(-1) : "";
    this.#add(this.#half ? whole.slice(0, -1) : whole, this.#clock(now));
  }

  /** No more text will come: the rest is shown faster. */
  end(now: number): void {
    if (this.#ended) return;
    const clock = this.#clock(now);
    this.#add(this.#half, clock);
    this.#half = "";
    this.#rescale(clock, () => {
      this.#ended = true;
    });
  }

  /** What is due by now, in whole grapheme clusters. */
  take(now: number): Taken {
    if (this.#buffered === 0 || this.paused) return { text: "", wakeAt: null };
    const closed = this.#ended || now - this.#pushed >= OPEN_CLUSTER_MS;
    const { end, units, next } = cut(this.#text, this.#budget(now), closed);
    const text = this.#text.slice(0, end);
    this.#text = this.#text.slice(end);
    this.#buffered -= units;
    this.#shown += units;
    if (units) this.#due += (units * 1000) / this.#speed;
    return { text, wakeAt: next ? this.#wakeAt(next, now) : null };
  }

  /** How far the text that has come reaches ahead of the reader, in seconds; 0 without pacing. */
  lead(now: number): number {
    if (this.#speed === Infinity || this.#due === -Infinity) return 0;
    return Math.max(0, this.#due - this.#clock(now) + (this.#buffered * 1000) / this.#speed) / 1000;
  }

  /** Another pace from now on, in characters a second; Infinity shows everything as it comes. */
  setRate(rate: number, now: number): void {
    this.#rescale(this.#clock(now), () => {
      this.#rate = rate;
    });
  }

  /** Show what is there, and what will come, without pacing; `setRate` brings it back. */
  skip(now: number): void {
    this.setRate(Infinity, now);
  }

  /** The reader is away: the clock stands still, and what comes meanwhile counts as come now. */
  pause(now: number): void {
    this.#pausedAt ??= now;
  }

  resume(now: number): void {
    if (this.#pausedAt === null) return;
    this.#due += now - this.#pausedAt;
    this.#pausedAt = null;
  }

  get #speed(): number {
    return this.#ended ? this.#rate * this.#afterEnd : this.#rate;
  }

  #clock(now: number): number {
    return this.#pausedAt ?? now;
  }

  #add(text: string, clock: number): void {
    if (text === "") return;
    // What has long been due is not made up for by text that has only come now.
    this.#due = Math.max(this.#due, clock - (this.#buffered * 1000) / this.#speed);
    this.#text += text;
    this.#buffered += codePoints(text);
    this.#pushed = clock;
  }

  #budget(now: number): number {
    if (this.#speed === Infinity) return this.#buffered;
    const due = Math.floor(((now - this.#due) * this.#speed) / 1000 + ROUNDING) + 1;
    return Math.max(0, Math.min(due, this.#buffered));
  }

  #wakeAt(next: number, now: number): number {
    const dueAt = this.#due + ((next - 1) * 1000) / this.#speed;
    // A due cluster that stayed back waits for its other part.
    return dueAt > now ? dueAt : Math.max(now, this.#pushed + OPEN_CLUSTER_MS);
  }

  /** Change the speed: what was due stays due, and the next character comes as much sooner as the pace is faster. */
  #rescale(clock: number, change: () => void): void {
    const before = this.#speed;
    change();
    if (this.#due === -Infinity || before === this.#speed) return;
    this.#due = before === Infinity ? clock : clock + ((this.#due - clock) * before) / this.#speed;
  }
}
