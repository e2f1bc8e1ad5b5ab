/**
 * One answer from the gateway, however often the connection breaks.
 *
 * The request opts in to be resumable. When the connection is lost, the stream is asked for again behind the last event
 * that came whole, so nothing is lost and nothing comes twice. What happens is an item; failures are items too, and
 * iterating throws nothing.
 */

import { type ErrorObject, type Failure, failure, refusal, streamed } from "./failures.ts";
import { Retries } from "./retries.ts";
import { type SseEvent, SseParser, SseTooLarge } from "./sse.ts";
import { systemTimers, type Timers } from "./timers.ts";

export type { Failure } from "./failures.ts";
export { backoff } from "./retries.ts";

/**
 * What the gateway says of a stream (`event: andante`). `state` is queued, running, paused, parked or ended; `place` is
 * how many jobs stand before it; `produced` and `delivered` are tokens; `lead_s` is null without a pace; `resumed` is
 * how often it has gone on; `qoe` is until now, at the end of the whole answer; `reason` a code: room, gain, fair, late,
 * due, ahead, away, share, memory, or null.
 */
export interface StreamState {
  readonly state: string;
  readonly place: number | null;
  readonly produced: number;
  readonly delivered: number;
  readonly lead_s: number | null;
  readonly resumed: number;
  readonly level?: string;
  readonly qoe?: number | null;
  readonly reason?: string | null;
}

/** A chunk of the answer, as OpenAI's API has it; other fields are passed on as they are. */
export interface Chunk {
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string | null; readonly reasoning_content?: string | null };
    readonly text?: string;
    readonly finish_reason?: string | null;
  }[];
  readonly error?: ErrorObject;
}

/** What a stream yields. After `done` and `error` comes nothing more. */
export type StreamItem =
  | {
      readonly type: "open";
      readonly id: string | null;
      readonly resume: string | null;
      readonly requestId: string | null;
    }
  | { readonly type: "delta"; readonly text: string; readonly chunk: Chunk }
  | { readonly type: "state"; readonly state: StreamState }
  | { readonly type: "retry"; readonly attempt: number; readonly waitMs: number; readonly failure: Failure }
  | { readonly type: "done"; readonly finishReason: string | null }
  | { readonly type: "error"; readonly failure: Failure };

/** What every call to the gateway needs. `url` is its address without `/v1`, "" for the page's own. */
export interface Gateway {
  readonly url: string;
  readonly key?: string;
  readonly fetch?: typeof fetch;
  readonly timers?: Timers;
}

/** Either `body` (a new answer), or `id` (an answer that is there already, behind `lastEventId` if given). */
export interface StreamOptions extends Gateway {
  readonly body?: Readonly<Record<string, unknown>>;
  readonly path?: string;
  readonly id?: string;
  readonly lastEventId?: string;
  readonly signal?: AbortSignal;
  /** Tries in a row to begin an answer; 8. One that has begun is tried for as long as the gateway keeps it. */
  readonly attempts?: number;
  /** Silence, keep-alive comments included, after which a connection counts as lost, in milliseconds; 45,000. */
  readonly silenceMs?: number;
  readonly random?: () => number;
}

/** A gateway begins to answer at once who comes back; silence before that is a dead network. */
const HEAD_MS = 10_000;

/** The headers of a call. */
export function headersOf({ key }: Gateway): Record<string, string> {
  return key ? { authorization: `Bearer ${key}` } : {};
}

export class AndanteStream implements AsyncIterable<StreamItem> {
  /** The gateway's id of the stream, which a page keeps to come back to it; null if it cannot be resumed. */
  id: string | null;
  /** The last event that came whole. */
  lastEventId: string | null;

  readonly #options: StreamOptions;
  readonly #fetch: typeof fetch;
  readonly #timers: Timers;
  readonly #leaving = new AbortController();
  readonly #retries: Retries;
  #begun = false;
  #finishReason: string | null = null;

  constructor(options: StreamOptions) {
    this.#options = options;
    const ask = options.fetch ?? fetch;
    this.#fetch = (...call) => ask(...call); // a browser's fetch will not be a method of ours
    this.#timers = options.timers ?? systemTimers;
    this.#retries = new Retries(options.attempts ?? 8, options.random ?? Math.random, this.#timers);
    this.id = options.id ?? null;
    this.lastEventId = options.lastEventId ?? null;
    options.signal?.addEventListener("abort", () => this.leave());
    if (options.signal?.aborted) this.leave();
  }

  /** Close the connection. The gateway keeps a resumable stream for a while; any other one ends. */
  leave(): void {
    this.#leaving.abort();
  }

  /** Leave, and end the generation. The failure says why the gateway could not be told. */
  async stop(): Promise<Failure | null> {
    this.leave();
    if (this.id === null) return null;
    try {
      const call = { method: "DELETE", headers: headersOf(this.#options), keepalive: true };
      const response = await this.#fetch(this.#address(this.id), call);
      return response.ok || response.status === 404 || response.status === 410 ? null : await refusal(response);
    } catch (error) {
      return failure("network", String(error), true);
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<StreamItem, void, undefined> {
    try {
      for (;;) {
        const lost = yield* this.#leg();
        if (lost === null) return;
        const begun = this.id !== null;
        const waitMs = this.#retries.wait(lost, begun);
        if (waitMs === null) return yield { type: "error", failure: this.#retries.last(lost, begun) };
        yield { type: "retry", attempt: this.#retries.attempt, waitMs, failure: lost };
        await this.#pause(waitMs);
      }
    } finally {
      this.leave();
    }
  }

  /** One connection: null when the answer is whole, else why it is not. */
  async *#leg(): AsyncGenerator<StreamItem, Failure | null, undefined> {
    const connection = new AbortController();
    const signal = AbortSignal.any([this.#leaving.signal, connection.signal]);
    const watch = this.#silence(connection);
    try {
      const response = await this.#ask(signal);
      watch.heard();
      if (!response.ok) return await refusal(response);
      yield this.#opened(response.headers);
      return yield* this.#read(response, watch.heard);
    } catch (error) {
      if (this.#leaving.signal.aborted) return failure("aborted", "The reader left.", false);
      if (error instanceof SyntaxError || error instanceof SseTooLarge)
        return failure("bad_event", error.message, false);
      const code = connection.signal.aborted ? "silent" : "network";
      return failure(code, error instanceof Error ? error.message : String(error), this.#mayTryAgain());
    } finally {
      watch.end();
      connection.abort();
    }
  }

  #ask(signal: AbortSignal): Promise<Response> {
    const headers = headersOf(this.#options);
    if (this.id !== null) {
      if (this.lastEventId !== null) headers["last-event-id"] = this.lastEventId;
      return this.#fetch(this.#address(this.id), { headers, signal, cache: "no-store" });
    }
    const { url, path = "/v1/chat/completions", body } = this.#options;
    headers["content-type"] = "application/json";
    headers["x-stream-resumable"] = "1";
    return this.#fetch(url + path, {
      method: "POST",
      headers,
      signal,
      body: JSON.stringify({ ...body, stream: true }),
    });
  }

  #address(id: string): string {
    return `${this.#options.url}/v1/streams/${encodeURIComponent(id)}`;
  }

  #opened(headers: Headers): StreamItem {
    this.id ??= headers.get("x-stream-id");
    this.#retries.window(headers.get("x-stream-window"));
    return {
      type: "open",
      id: this.id,
      resume: headers.get("x-stream-resume"),
      requestId: headers.get("x-request-id"),
    };
  }

  async *#read(response: Response, heard: () => void): AsyncGenerator<StreamItem, Failure | null, undefined> {
    const parser = new SseParser();
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return failure("connection_lost", "The stream ended before the answer did.", this.#mayTryAgain());
      heard();
      this.#retries.heard();
      for (const event of parser.feed(value)) {
        const item = this.#item(event);
        if (item === null) continue;
        yield item;
        if (item.type === "done" || item.type === "error") return null;
      }
    }
  }

  /** Null for an event that came before, and for one of a kind that we do not know. */
  #item({ event, data, id }: SseEvent): StreamItem | null {
    if (id !== null && this.lastEventId !== null && Number(id) <= Number(this.lastEventId)) return null;
    this.lastEventId = id ?? this.lastEventId;
    this.#retries.attempt = 0;
    this.#begun = true;
    if (event === "andante") return { type: "state", state: JSON.parse(data) };
    if (event !== "message") return null;
    if (data === "[DONE]") return { type: "done", finishReason: this.#finishReason };
    const chunk: Chunk = JSON.parse(data);
    if (chunk.error) return { type: "error", failure: streamed(chunk.error) };
    const choice = chunk.choices?.[0];
    this.#finishReason = choice?.finish_reason ?? this.#finishReason;
    return { type: "delta", text: choice?.delta?.content ?? choice?.text ?? "", chunk };
  }

  /** A new request is sent again only while nothing of it has come. */
  #mayTryAgain(): boolean {
    return this.id !== null || !this.#begun;
  }

  #silence(connection: AbortController): { heard: () => void; end: () => void } {
    const silenceMs = this.#options.silenceMs ?? 45_000;
    const wait = (ms: number) => this.#timers.after(ms, () => connection.abort());
    let cancel = wait(this.id === null ? silenceMs : Math.min(silenceMs, HEAD_MS));
    const heard = () => {
      cancel();
      cancel = wait(silenceMs);
    };
    return { heard, end: () => cancel() };
  }

  /** Wait; shorter if the network comes back or the reader leaves. */
  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const over = () => {
        cancel();
        globalThis.removeEventListener?.("online", over);
        this.#leaving.signal.removeEventListener("abort", over);
        resolve();
      };
      const cancel = this.#timers.after(ms, over);
      globalThis.addEventListener?.("online", over);
      this.#leaving.signal.addEventListener("abort", over);
      if (this.#leaving.signal.aborted) over();
    });
  }
}
