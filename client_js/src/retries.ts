/**
 * When a stream is tried again, and when no more.
 *
 * A new answer is asked for a number of times. One that has begun is asked for as long as the gateway keeps it for its
 * reader, counted from when the connection was lost.
 */

import { type Failure, failure } from "./failures.ts";
import type { Timers } from "./timers.ts";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
/** How long a gateway keeps an answer, where it has not said so. */
const WINDOW_MS = 60_000;
/** So many tries at least are made in that time. */
const TRIES_IN_WINDOW = 12;

/** Milliseconds before try number `attempt` (from 1): doubling up to `longest`, the second half of each by chance. */
export function backoff(attempt: number, random: () => number, longest = LONGEST_WAIT_MS): number {
  const whole = Math.min(longest, FIRST_WAIT_MS * 2 ** (attempt - 1));
  return whole * (0.5 + random() / 2);
}

export class Retries {
  /** Tries in a row that brought no event. */
  attempt = 0;
  readonly #attempts: number;
  readonly #random: () => number;
  readonly #timers: Timers;
  #lostAt: number | null = null;
  #windowMs = WINDOW_MS;

  constructor(attempts: number, random: () => number, timers: Timers) {
    this.#attempts = attempts;
    this.#random = random;
    this.#timers = timers;
  }

  /** The gateway says how long it keeps the answer, in seconds as text. */
  window(seconds: string | null): void {
    if (Number(seconds) > 0) this.#windowMs = Number(seconds) * 1000;
  }

  /** Something came: the gateway had its reader back, and its window begins anew. */
  heard(): void {
    this.#lostAt = null;
  }

  /** Milliseconds until the next try; null: there is none. `begun`: the answer has an id at the gateway. */
  wait(lost: Failure, begun: boolean): number | null {
    this.attempt += 1;
    if (!lost.retryable) return null;
    if (!begun) {
      if (this.attempt > this.#attempts) return null;
      return lost.retryAfterMs ?? backoff(this.attempt, this.#random);
    }
    const now = this.#timers.now();
    this.#lostAt ??= now;
    const left = this.#lostAt + this.#windowMs - now;
    if (left <= 0) return null;
    const longest = Math.min(LONGEST_WAIT_MS, this.#windowMs / TRIES_IN_WINDOW);
    return Math.min(left, lost.retryAfterMs ?? backoff(this.attempt, this.#random, longest));
  }

  /** What the reader is told at last: of a network that stayed away, that the answer is gone by now. */
  last(lost: Failure, begun: boolean): Failure {
    if (!begun || !lost.retryable || lost.status !== null) return lost;
    const seconds = Math.round(this.#windowMs / 1000);
    return failure(
      "too_late",
      `The connection is lost. After ${seconds} s the gateway keeps the answer no longer.`,
      false,
    );
  }
}
