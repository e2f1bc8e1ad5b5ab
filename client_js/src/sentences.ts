/** Whole sentences out of text that grows: for voices and screen readers. */

/** Longer than this, text without an end of a sentence is given out up to its last space. */
const LONGEST = 400;

export class Sentences {
  readonly #segmenter: Intl.Segmenter;
  #rest = "";

  constructor(language?: string) {
    this.#segmenter = new Intl.Segmenter(language, { granularity: "sentence" });
  }

  /** The sentences that are complete with this text. One is complete when the next has begun, or a line ends. */
  push(text: string): string[] {
    return trimmed(this.#grow(text));
  }

  /** What is left at the end. */
  end(): string[] {
    return trimmed([this.endRaw()]);
  }

  /** As `push`, but to the letter, with the space between sentences. */
  pushRaw(text: string): string {
    return this.#grow(text).join("");
  }

  /** As `end`, to the letter. */
  endRaw(): string {
    const rest = this.#rest;
    this.#rest = "";
    return rest;
  }

  #grow(text: string): string[] {
    this.#rest += text;
    const parts = Array.from(this.#segmenter.segment(this.#rest), ({ segment }) => segment);
    const last = parts.at(-1) ?? "";
    const whole = last.endsWith("\n") ? parts : parts.slice(0, -1);
    if (!last.endsWith("\n") && last.length > LONGEST) {
      // Its end may be half a word, or half an emoji: what follows is not here yet.
      whole.push(last.slice(0, last.lastIndexOf(" ") + 1 || last.length));
    }
    this.#rest = this.#rest.slice(whole.join("").length);
    return whole;
  }
}

function trimmed(parts: string[]): string[] {
  return parts.map((each) => each.trim()).filter(Boolean);
}
