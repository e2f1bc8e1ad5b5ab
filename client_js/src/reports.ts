/** Tells the gateway what the reader really sees, at most once a second. Nobody waits for it, and it never fails a stream. */

import { type Gateway, headersOf } from "./stream.ts";
import { systemTimers, type Timers } from "./timers.ts";

/** `shown` and `buffered` in characters of the answer, `rate` in characters a second, times in milliseconds. */
export interface ReaderState {
  shown: number;
  buffered: number;
  visible: boolean;
  rate: number | null;
  rtt_ms: number | null;
  jitter_ms: number | null;
}

const INTERVAL_MS = 1000;
const LONGEST_MS = 60_000; // what the gateway takes for a time

export class ReaderReports {
  readonly #gateway: Gateway;
  readonly #address: string;
  readonly #timers: Timers;
  #state: ReaderState = { shown: 0, buffered: 0, visible: true, rate: null, rtt_ms: null, jitter_ms: null };
  #sent = "";
  #lastAt = -Infinity;
  #cancel: (() => void) | null = null;
  #closed = false;

  constructor(gateway: Gateway, id: string) {
    this.#gateway = gateway;
    this.#timers = gateway.timers ?? systemTimers;
    this.#address = `${gateway.url}/v1/streams/${encodeURIComponent(id)}/reader`;
  }

  /** The round trip of the last report, in milliseconds; null before the first. */
  get rttMs(): number | null {
    return this.#state.rtt_ms;
  }

  /** Something of the reader has changed; it is sent with the next report. */
  update(state: Partial<Omit<ReaderState, "rtt_ms">>): void {
    Object.assign(this.#state, state);
    if (this.#state.jitter_ms !== null) this.#state.jitter_ms = Math.min(LONGEST_MS, this.#state.jitter_ms);
    if (this.#closed || this.#cancel) return;
    // On a slow network a report each second would only stand in line.
    const interval = Math.max(INTERVAL_MS, 4 * (this.#state.rtt_ms ?? 0));
    const wait = this.#lastAt + interval - this.#timers.now();
    this.#cancel = this.#timers.after(Math.max(0, wait), () => {
      this.#cancel = null;
      void this.#send();
    });
  }

  /** The page goes away: send what is known now, even if the second is not over. */
  hide(): void {
    this.#stopWaiting();
    this.#state.visible = false;
    if (!this.#closed) void this.#send();
  }

  /** The stream is over: nothing more is sent. */
  close(): void {
    this.#stopWaiting();
    this.#closed = true;
  }

  #stopWaiting(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  async #send(): Promise<void> {
    const body = JSON.stringify(this.#state);
    if (body === this.#sent) return;
    this.#sent = body;
    this.#lastAt = this.#timers.now();
    const headers = { ...headersOf(this.#gateway), "content-type": "application/json" };
    const ask = this.#gateway.fetch ?? fetch;
    try {
      const { status } = await ask(this.#address, { method: "POST", headers, body, keepalive: true });
      this.#state.rtt_ms = Math.min(LONGEST_MS, Math.round(this.#timers.now() - this.#lastAt));
      if (status === 404 || status === 410) this.close();
    } catch {
      this.#sent = ""; // it did not arrive: the next change tells it again
    }
  }
}
