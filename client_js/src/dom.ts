/** Puts paced text on a page: a piece each frame, nothing drawn twice, and sentences for screen readers. */

import type { Pacer } from "./pacer.ts";
import { Sentences } from "./sentences.ts";

/** `write` is called with what is new, at most once a frame. */
export interface Presentation {
  readonly pacer: Pacer;
  readonly write: (text: string) => void;
  /** Called once, when everything has come and is written. */
  readonly finished?: () => void;
  /** Show whole sentences, not letters that move; by default what the reader's system asks for. */
  readonly calm?: boolean;
  readonly language?: string;
  readonly now?: () => number;
  readonly frame?: (call: () => void) => () => void;
}

function nextFrame(call: () => void): () => void {
  const id = requestAnimationFrame(call);
  return () => cancelAnimationFrame(id);
}

/** Whether the reader's system asks for little motion. */
export function wantsCalm(): boolean {
  return typeof matchMedia === "function" && matchMedia("(prefers-reduced-motion: reduce)").matches;
}

export class Presenter {
  readonly #show: Required<Pick<Presentation, "now" | "frame">> & Presentation;
  readonly #sentences: Sentences | null;
  #cancel: (() => void) | null = null;
  #over = false;

  constructor(show: Presentation) {
    this.#show = { now: () => performance.now(), frame: nextFrame, ...show };
    this.#sentences = (show.calm ?? wantsCalm()) ? new Sentences(show.language) : null;
    this.wake();
  }

  /** Something has come, or the pace has changed: look at the next frame. */
  wake(): void {
    if (this.#over) return;
    this.#cancel ??= this.#show.frame(() => this.#tick());
  }

  /** Write nothing more. */
  end(): void {
    this.#over = true;
    this.#cancel?.();
    this.#cancel = null;
  }

  #tick(): void {
    this.#cancel = null;
    const { pacer, write, finished, now } = this.#show;
    const { text, wakeAt } = pacer.take(now());
    const due = this.#sentences ? this.#calmly(text) : text;
    if (due) write(due);
    if (pacer.finished) {
      this.end();
      finished?.();
    } else if (wakeAt !== null) this.wake();
  }

  #calmly(text: string): string {
    const whole = this.#sentences?.pushRaw(text) ?? "";
    return this.#show.pacer.finished ? whole + (this.#sentences?.endRaw() ?? "") : whole;
  }
}

const NODE_LENGTH = 4096; // appending to one ever longer node would lay all of it out again

/** A `write` that appends to an element, in text nodes of bounded length. Text is text: no markup is read. */
export function appendTo(element: Element): (text: string) => void {
  let node: Text | null = null;
  return (text) => {
    if (node && node.length + text.length <= NODE_LENGTH) node.appendData(text);
    else {
      node = element.ownerDocument.createTextNode(text);
      element.append(node);
    }
  };
}

const ANNOUNCEMENTS = 8; // more than come before the page is looked at again, few enough for any answer's length

/**
 * A `write` that tells an `aria-live` element sentence by sentence. Each gets a child of its own: one that is replaced
 * before a screen reader has looked would not be heard. The last ones stay.
 */
export function announceTo(element: Element, language?: string): { write: (text: string) => void; end: () => void } {
  const sentences = new Sentences(language);
  const say = (whole: string[]) => {
    if (!whole.length) return;
    const told = element.ownerDocument.createElement("span");
    told.textContent = `${whole.join(" ")} `;
    element.append(told);
    if (element.childElementCount > ANNOUNCEMENTS) element.firstElementChild?.remove();
  };
  return { write: (text) => say(sentences.push(text)), end: () => say(sentences.end()) };
}

/** Tells when the page is hidden and shown again, and when it goes away for good; returns how to stop listening. */
export function watchVisibility(changed: (visible: boolean) => void, leaving: () => void): () => void {
  const turned = () => changed(document.visibilityState === "visible");
  document.addEventListener("visibilitychange", turned);
  addEventListener("pagehide", leaving);
  return () => {
    document.removeEventListener("visibilitychange", turned);
    removeEventListener("pagehide", leaving);
  };
}
