/**
 * Server-sent events from bytes, as the HTML standard reads them ("9.2.6 Interpreting an event stream").
 *
 * Bytes go in wherever the network cut them; whole events come out. Nothing is known of where the bytes come from.
 */

/** One event. `id` is the id line of this very event, null where it had none; `lastEventId` of the parser remembers. */
export interface SseEvent {
  readonly event: string;
  readonly data: string;
  readonly id: string | null;
}

/** An event grew over the parser's bound; the stream cannot be read on. */
export class SseTooLarge extends Error {}

/** What an event may hold, in UTF-16 code units: the gateway's own bound on an event. */
export const MAX_EVENT = 4 * 1024 * 1024;

export class SseParser {
  /** The last id that the stream gave: what `Last-Event-ID` says when it is asked to go on. "" before the first. */
  lastEventId = "";
  /** What a `retry:` line asked for, in milliseconds; null before the first. */
  retryMs: number | null = null;

  readonly #max: number;
  readonly #decoder = new TextDecoder(); // drops a byte order mark, and keeps half a character for the next bytes
  #line: string[] = []; // pieces of a line whose end has not come; joined once, so that small pieces stay cheap
  #lineSize = 0;
  #data: string[] = [];
  #size = 0;
  #event = "";
  #id: string | null = null;
  #afterCr = false;

  constructor(maxEvent: number = MAX_EVENT) {
    this.#max = maxEvent;
  }

  /** The events that these bytes complete. SseTooLarge if one is over the bound. */
  feed(bytes: Uint8Array): SseEvent[] {
    let text = this.#decoder.decode(bytes, { stream: true });
    const events: SseEvent[] = [];
    if (text === "") return events;
    if (this.#afterCr && text[0] === "\n") text = text.slice(1);
    this.#afterCr = text === "" ? false : text.endsWith("\r");
    let from = 0;
    for (const end of text.matchAll(/\r\n|\n|\r/g)) {
      this.#line.push(text.slice(from, end.index));
      from = end.index + end[0].length;
      const event = this.#endLine();
      if (event) events.push(event);
    }
    this.#keep(text.slice(from));
    return events;
  }

  #keep(rest: string): void {
    if (rest === "") return;
    this.#line.push(rest);
    this.#lineSize += rest.length;
    this.#bound();
  }

  #bound(): void {
    if (this.#size + this.#lineSize > this.#max) throw new SseTooLarge(`an event is over ${this.#max} characters`);
  }

  #endLine(): SseEvent | null {
    const line = this.#line.length === 1 ? (this.#line[0] as string) : this.#line.join("");
    this.#line = [];
    this.#lineSize = 0;
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    this.#field(name, value);
    return null;
  }

  #field(name: string, value: string): void {
    if (name === "data") {
      this.#data.push(value);
      this.#size += value.length + 1;
      this.#bound();
    } else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.#id = this.lastEventId = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retryMs = Number(value);
  }

  #dispatch(): SseEvent | null {
    const event = { event: this.#event || "message", data: this.#data.join("\n"), id: this.#id };
    const whole = this.#data.length > 0;
    this.#data = [];
    this.#event = "";
    this.#id = null;
    this.#size = 0;
    return whole ? event : null;
  }
}
