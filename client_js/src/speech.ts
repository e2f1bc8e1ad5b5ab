/** Reads an answer aloud, sentence by sentence, as it comes. */

import { Sentences } from "./sentences.ts";

/** What is used of a browser's `speechSynthesis`. */
export interface Voice {
  speak(utterance: SpeechSynthesisUtterance): void;
  cancel(): void;
}

/** `rate` is the voice's own: 1 is its usual speed, which is about `listening`. */
export interface SpeechOptions {
  readonly language?: string;
  readonly rate?: number;
  readonly voice?: Voice;
  readonly utterance?: (text: string) => SpeechSynthesisUtterance;
}

/** Sentences that wait for the voice; text that would make more stays with the pacer. */
const QUEUE = 3;

export class Speech {
  readonly #options: SpeechOptions;
  readonly #sentences: Sentences;
  readonly #voice: Voice;
  #waiting = 0;

  constructor(options: SpeechOptions = {}) {
    this.#options = options;
    this.#sentences = new Sentences(options.language);
    this.#voice = options.voice ?? speechSynthesis;
  }

  /** Whether the voice has enough to say: take no more from the pacer until it is false. */
  get busy(): boolean {
    return this.#waiting >= QUEUE;
  }

  /** Text that the listener's pace (`paceOf("listening")`) has made due. */
  write(text: string): void {
    for (const sentence of this.#sentences.push(text)) this.#say(sentence);
  }

  /** The answer is over: say the rest. */
  end(): void {
    for (const sentence of this.#sentences.end()) this.#say(sentence);
  }

  /** Be silent at once. */
  stop(): void {
    this.#sentences.end();
    this.#voice.cancel();
  }

  #say(text: string): void {
    const { language, rate = 1, utterance = (words: string) => new SpeechSynthesisUtterance(words) } = this.#options;
    const spoken = utterance(text);
    if (language) spoken.lang = language;
    spoken.rate = rate;
    this.#waiting += 1;
    const over = () => {
      this.#waiting -= 1;
    };
    spoken.onend = over;
    spoken.onerror = over;
    this.#voice.speak(spoken);
  }
}
