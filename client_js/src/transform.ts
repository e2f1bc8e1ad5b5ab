/** The pacer for streams of other libraries: anything that can be iterated, and the AI SDK's transforms. */

import { Pacer, type PacerOptions } from "./pacer.ts";
import { systemTimers, type Timers } from "./timers.ts";

/** How text is found in an item, and how an item is made that holds another piece of it. */
export interface Shape<T> {
  /** The item's text; "" for an item that is passed on at its place without pacing. */
  readonly text: (item: T) => string;
  /** `last`: whether it is the item's last piece, which carries what comes after its text. */
  readonly withText: (item: T, text: string, last: boolean) => T;
}

export interface PacedOptions extends PacerOptions {
  /** Characters that may wait before the source is read no further; 20,000. */
  readonly maxBuffered?: number;
  readonly timers?: Timers;
}

/** The same items in the same order, at the reader's pace. What the source throws is thrown after what came before it. */
export async function* paced<T>(source: AsyncIterable<T>, shape: Shape<T>, options: PacedOptions): AsyncGenerator<T> {
  const work = new Paced(source, shape, options);
  const reading = work.read().then(
    () => null,
    (error: unknown) => ({ error }),
  );
  try {
    yield* work.show();
    const broken = await reading;
    if (broken) throw broken.error;
  } finally {
    await work.close();
  }
}

/** Strings, such as the `textStream` of the AI SDK. */
export function pacedText(source: AsyncIterable<string>, options: PacedOptions): AsyncGenerator<string> {
  return paced(source, { text: (item) => item, withText: (_, text) => text }, options);
}

interface ChatChunk {
  readonly choices: readonly {
    readonly delta: { readonly content?: string | null };
    readonly finish_reason?: string | null;
  }[];
}

/** The chunks of `openai.chat.completions.create({ stream: true })`, with one choice. */
export function pacedChunks<T extends ChatChunk>(source: AsyncIterable<T>, options: PacedOptions): AsyncGenerator<T> {
  const withText = (chunk: T, content: string, last: boolean): T => {
    const [choice, ...others] = chunk.choices;
    const piece = { ...choice, delta: { ...choice?.delta, content } };
    // Who stops reading at the reason must have read the whole text by then.
    if (!last && piece.finish_reason) piece.finish_reason = null;
    return { ...chunk, choices: [piece, ...others] };
  };
  return paced(source, { text: (chunk) => chunk.choices[0]?.delta.content ?? "", withText }, options);
}

/** A part of the AI SDK's stream, as far as the pacer looks at it. */
export interface Part {
  readonly type: string;
  readonly text?: string;
}

/** For `experimental_transform` of the AI SDK's `streamText`, from version 5 on. */
export function paceTransform<T extends Part>(options: PacedOptions): () => TransformStream<T, T> {
  const text = (part: T) => (part.type === "text-delta" ? (part.text ?? "") : "");
  return () => {
    const { writable, readable } = new TransformStream<T, T>();
    const reader = readable.getReader();
    const shown = paced(iterate(reader), { text, withText: (part, piece) => ({ ...part, text: piece }) }, options);
    return { writable, readable: streamOf(shown, (reason) => reader.cancel(reason)) };
  };
}

class Paced<T> {
  readonly #iterator: AsyncIterator<T>;
  readonly #shape: Shape<T>;
  readonly #max: number;
  readonly #timers: Timers;
  readonly #pacer: Pacer;
  readonly #queue: { item: T; left: string }[] = [];
  readonly #news: Signal; // for the one that shows
  readonly #room: Signal; // for the one that reads
  #done = false;

  constructor(source: AsyncIterable<T>, shape: Shape<T>, options: PacedOptions) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#shape = shape;
    this.#max = options.maxBuffered ?? 20_000;
    this.#timers = options.timers ?? systemTimers;
    this.#pacer = new Pacer(options);
    this.#news = new Signal(this.#timers);
    this.#room = new Signal(this.#timers);
  }

  async read(): Promise<void> {
    try {
      while (!this.#done) {
        const { value, done } = await this.#iterator.next();
        if (done) break;
        const left = this.#shape.text(value);
        this.#queue.push({ item: value, left });
        this.#pacer.push(left, this.#timers.now());
        this.#news.give();
        while (this.#full() && !this.#done) await this.#room.wait();
      }
    } finally {
      this.#done = true;
      this.#pacer.end(this.#timers.now());
      this.#news.give();
    }
  }

  async *show(): AsyncGenerator<T> {
    for (;;) {
      const { text, wakeAt } = this.#pacer.take(this.#timers.now());
      yield* this.#pieces(text);
      this.#room.give();
      if (this.#done && this.#queue.length === 0) return;
      await this.#news.wait(wakeAt);
    }
  }

  async close(): Promise<void> {
    this.#done = true;
    this.#room.give();
    await this.#iterator.return?.();
  }

  #full(): boolean {
    return this.#pacer.buffered > this.#max || this.#queue.length > this.#max;
  }

  /** What the text completes, item by item; an item without text goes as soon as nothing stands before it. */
  *#pieces(text: string): Generator<T> {
    let rest = text;
    for (let head = this.#queue[0]; head !== undefined; head = this.#queue[0]) {
      if (head.left === "") yield head.item;
      else if (rest === "") return;
      else {
        const piece = rest.slice(0, head.left.length);
        rest = rest.slice(piece.length);
        head.left = head.left.slice(piece.length);
        yield this.#shape.withText(head.item, piece, head.left === "");
        if (head.left) return;
      }
      this.#queue.shift();
    }
  }
}

/** Wakes one waiter; what is given while nobody waits is not lost. */
class Signal {
  readonly #timers: Timers;
  #given = false;
  #wake: (() => void) | null = null;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  give(): void {
    this.#given = true;
    this.#wake?.();
  }

  /** Until it is given, or until a time. */
  async wait(until: number | null = null): Promise<void> {
    if (!this.#given) {
      await new Promise<void>((resolve) => {
        const cancel = until === null ? null : this.#timers.after(until - this.#timers.now(), resolve);
        this.#wake = () => {
          cancel?.();
          resolve();
        };
      });
    }
    this.#wake = null;
    this.#given = false;
  }
}

/** A stream's items; not every browser iterates streams yet. */
async function* iterate<T>(reader: ReadableStreamDefaultReader<T>): AsyncGenerator<T> {
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel();
  }
}

/** `leave` ends the source at once: a generator that waits for its next item hears of a `return` only after it. */
function streamOf<T>(source: AsyncGenerator<T>, leave: (reason: unknown) => Promise<void>): ReadableStream<T> {
  return new ReadableStream({
    async pull(controller) {
      const { value, done } = await source.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel(reason) {
      await leave(reason);
      await source.return(undefined);
    },
  });
}
