import type { Timers } from "../src/timers.ts";

/** A clock that stands still until it is told. */
export class VirtualTimers implements Timers {
  #now = 0;
  #alarms: { at: number; call: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, call: () => void): () => void {
    const alarm = { at: this.#now + Math.max(0, ms), call };
    this.#alarms.push(alarm);
    return () => {
      this.#alarms = this.#alarms.filter((each) => each !== alarm);
    };
  }

  /** When the next alarm is due; null without one. */
  get next(): number | null {
    return this.#alarms.length ? Math.min(...this.#alarms.map(({ at }) => at)) : null;
  }

  /** Go on by so many milliseconds, alarm by alarm; what each one started runs before the next. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    await settled();
    for (let next = this.next; next !== null && next <= until; next = this.next) {
      this.#now = next;
      const due = this.#alarms.filter(({ at }) => at <= next);
      this.#alarms = this.#alarms.filter(({ at }) => at > next);
      for (const { call } of due) call();
      await settled();
    }
    this.#now = until;
  }
}

/** All promises that can go on without the clock have gone on. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
