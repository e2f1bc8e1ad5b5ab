/** What happened to one answer over time: due, delivered, read. Times in seconds since it was asked for; pure. */

import type { Pace } from "../src/pace.ts";
import { type Away, type Delivery, finishedQoe, runningQoe } from "../src/qoe.ts";

/** `[at, delivered, read]`: characters so far. */
export type Sample = readonly [at: number, delivered: number, read: number];

const SAMPLES = 600;
const DELIVERIES = 4000;
const TOGETHER_S = 0.03; // deliveries this near to each other are one

export class Timeline {
  samples: Sample[] = [[0, 0, 0]];
  /** `[from, to]`: when the gateway held the job back; the last may be open (Infinity). */
  pauses: [number, number][] = [];
  #away: [number, number][] = [];
  #deliveries: [number, number][] = [];
  #delivered = 0;
  #step = 0;

  get delivered(): number {
    return this.#delivered;
  }

  get away(): Away {
    return this.#away;
  }

  deliver(at: number, units: number): void {
    if (!units) return;
    this.#delivered += units;
    const last = this.#deliveries.at(-1);
    if (last && at - last[0] < TOGETHER_S) last[1] += units;
    else this.#deliveries.push([at, units]);
    // A very long answer is remembered more coarsely: two neighbours count as delivered with the later one.
    if (this.#deliveries.length > DELIVERIES)
      this.#deliveries = pairs(this.#deliveries, ([, a], [at2, b]) => [at2, a + b]);
  }

  /** The strip's points; ever farther apart, so that they stay few. */
  sample(at: number, read: number): void {
    const last = this.samples.at(-1);
    if (last && at - last[0] < this.#step) return;
    this.samples.push([at, this.#delivered, read]);
    if (this.samples.length <= SAMPLES) return;
    this.samples = this.samples.filter((_, index) => index % 2 === 0);
    this.#step = Math.max(2 * this.#step, (2 * at) / SAMPLES);
  }

  leave(at: number): void {
    if (this.#away.at(-1)?.[1] !== Infinity) this.#away.push([at, Infinity]);
  }

  comeBack(at: number): void {
    close(this.#away, at);
  }

  pause(at: number): void {
    if (this.pauses.at(-1)?.[1] !== Infinity) this.pauses.push([at, Infinity]);
  }

  resume(at: number): void {
    close(this.pauses, at);
  }

  /** Of the answer as far as it is; of the whole one when it is `finished`. */
  qoe(pace: Pace, at: number, finished: boolean): number {
    // A program's pace has no rate here: 10 tokens a second, as the gateway reckons, are some 45 characters.
    const expected = { ttftS: pace.ttftS, rate: pace.paced ? pace.rate : 45, paced: pace.paced };
    const deliveries: Delivery[] = this.#deliveries;
    return finished
      ? finishedQoe(expected, deliveries, at, this.#away)
      : runningQoe(expected, deliveries, at, this.#away);
  }
}

function close(spans: [number, number][], at: number): void {
  const last = spans.at(-1);
  if (last?.[1] === Infinity) last[1] = at;
}

function pairs<T>(items: T[], join: (a: T, b: T) => T): T[] {
  const halves: T[] = [];
  for (let at = 0; at + 1 < items.length; at += 2) halves.push(join(items[at] as T, items[at + 1] as T));
  if (items.length % 2) halves.push(items.at(-1) as T);
  return halves;
}
