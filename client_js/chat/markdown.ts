/**
 * Markdown that grows: each block is parsed and drawn again only while it is the last one.
 *
 * A model's output is hostile until it is proved harmless: only DOMPurify's result reaches the page, images are links (an
 * address that is loaded tells who reads), and links open without telling where they come from.
 */

import DOMPurify from "dompurify";
import hljs from "highlight.js/lib/common";
import { Marked, type Token } from "marked";
import { button, copy, el } from "./ui.ts";

const HIGHLIGHTED = 50_000; // characters of a block of code; beyond, colours cost more than they give
const PARAGRAPH = 8_000; // a longer one goes on in a new one, so that a frame stays cheap
const LINES = /^ {0,3}(?:[`~>#|<=:]|[*+-]\s|-{2,}|\d+[.)])/m; // begins, or may begin, something else than a paragraph
const REST = 4; // for each millisecond of drawing the last block, so many for everything else

function escaped(text: string): string {
  const names: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (sign) => names[sign] ?? sign);
}

const marked = new Marked({
  gfm: true,
  renderer: {
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    image: ({ href, text }) => `<a href="${escaped(href)}">[${escaped(text || "image")}]</a>`,
  },
});

const ALLOWED = {
  RETURN_DOM_FRAGMENT: true,
  USE_PROFILES: { html: true },
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
  FORBID_TAGS: [
    "style",
    "form",
    "input",
    "button",
    "textarea",
    "select",
    "option",
    "img",
    "picture",
    "video",
    "audio",
    "svg",
    "dialog",
  ],
  FORBID_ATTR: ["style", "id", "name", "background", "srcset", "src"],
} as const;

/** Markup made safe, as nodes. */
export function safe(html: string): DocumentFragment {
  const config = { ...ALLOWED, FORBID_TAGS: [...ALLOWED.FORBID_TAGS], FORBID_ATTR: [...ALLOWED.FORBID_ATTR] };
  const fragment = DOMPurify.sanitize(html, config);
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    link.referrerPolicy = "no-referrer";
  }
  for (const marked of fragment.querySelectorAll("[class]")) {
    if (!/^language-[\w+#.-]+$/.test(marked.className)) marked.removeAttribute("class");
  }
  return fragment;
}

/** Colours, where the language is known. */
function colour(code: Element, language: string | undefined): void {
  const text = code.textContent ?? "";
  if (!language || !hljs.getLanguage(language) || text.length > HIGHLIGHTED) return;
  const { value } = hljs.highlight(text, { language, ignoreIllegals: true });
  const only = { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true } as const;
  code.replaceChildren(DOMPurify.sanitize(value, { ...only, ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"] }));
}

/** What `parse` gives, or `plain` for text that is nested deeper than the parser's stack reaches. */
function shallow<T>(parse: () => T, plain: () => T): T {
  try {
    return parse();
  } catch (error) {
    // Firefox has an error of its own for it.
    if (error instanceof RangeError || (error as Error).name === "InternalError") return plain();
    throw error;
  }
}

/** The markup of a block. */
export function markupOf(block: Token): string {
  return shallow(
    () => marked.parser([block]),
    () => `<p>${escaped(block.raw)}</p>`,
  );
}

/** A paragraph that has become too long, in several; anything else as it is. */
export function cutParagraph(text: string): string {
  if (text.length <= PARAGRAPH || text.includes("\n\n") || LINES.test(text)) return text;
  const parts: string[] = [];
  let rest = text;
  while (rest.length > PARAGRAPH) {
    const at = [". ", "。", " "].map((end) => rest.lastIndexOf(end, PARAGRAPH) + end.length).find(farEnough);
    const end = at ?? (/[\ud800-\udbff]/.test(rest.charAt(PARAGRAPH - 1)) ? PARAGRAPH - 1 : PARAGRAPH);
    parts.push(rest.slice(0, end).trimEnd());
    rest = rest.slice(end);
  }
  return [...parts, rest].join("\n\n");
}

function farEnough(at: number): boolean {
  return at >= PARAGRAPH / 2;
}

/** Blocks of a text, with where the last one (which may still grow) begins. Joined `raw`s are the text. */
export function blocks(text: string): { done: Token[]; last: Token | null } {
  const tokens = shallow<Token[]>(
    () => marked.lexer(text),
    () => [{ type: "paragraph", raw: text, text, tokens: [{ type: "text", raw: text, text }] }],
  );
  const at = tokens.findLastIndex(({ type }) => type !== "space");
  const last = tokens[at] ?? null;
  return { done: tokens.slice(0, Math.max(0, at)), last };
}

export class MarkdownView {
  readonly #element: HTMLElement;
  #tail = ""; // the text of the last block
  #live: HTMLElement | null = null; // where it is drawn
  #code: { text: Text; fence: string } | null = null; // a block of code that is still open
  #stale = false;
  #drawnAt = 0;
  #cost = 0;

  constructor(element: HTMLElement) {
    this.#element = element;
  }

  /** More text, to be drawn now or, if drawing is slow, with one of the next calls. */
  append(text: string): void {
    const more = text.replace(/\r\n?/g, "\n");
    this.#tail += more;
    this.#stale ||= more !== "";
    if (!this.#stale || (this.#code && this.#grow(this.#code, more))) return;
    const now = performance.now();
    if (now - this.#drawnAt < this.#cost * REST) return;
    this.#draw(now);
  }

  /** Whether text was appended that is not drawn yet: call `append("")` again. */
  get stale(): boolean {
    return this.#stale;
  }

  /** Draw what is left. */
  end(): void {
    if (this.#tail === "") return;
    this.#draw(performance.now());
    if (this.#code) this.#settle();
  }

  /** More of an open block of code is only text, as long as no fence is in sight. */
  #grow({ text, fence }: { text: Text; fence: string }, more: string): boolean {
    const line = this.#tail.slice(this.#tail.lastIndexOf("\n", this.#tail.length - more.length - 1) + 1);
    if (line.includes(fence)) return false;
    text.appendData(more);
    this.#stale = false;
    return true;
  }

  #draw(now: number): void {
    this.#stale = false;
    this.#tail = cutParagraph(this.#tail);
    const { done, last } = blocks(this.#tail);
    if (done.length) {
      for (const block of done) {
        this.#show(block);
        this.#settle();
      }
      this.#tail = this.#tail.slice(done.reduce((length, { raw }) => length + raw.length, 0));
    }
    if (last) this.#show(last);
    this.#drawnAt = performance.now();
    this.#cost = this.#drawnAt - now;
  }

  /** Draw a block by itself, so that markup which is never closed swallows nothing but itself. */
  #show(block: Token): void {
    this.#code = null;
    if (block.type === "space" || block.type === "def") return;
    this.#live ??= this.#element.appendChild(el("div", { class: "block" }));
    if (block.type === "code") this.#showCode(this.#live, block as Code);
    else {
      this.#live.replaceChildren(safe(markupOf(block)));
      for (const code of this.#live.querySelectorAll("pre > code")) colour(code, code.className.slice(9));
    }
  }

  #showCode(into: HTMLElement, { raw, text, lang }: Code): void {
    const fence = /^ {0,3}(`{3,}|~{3,})[^\n]*\n/.exec(raw)?.[1];
    const open = fence !== undefined && !new RegExp(`\\n {0,3}${fence}[\`~]*\\s*$`).test(raw);
    const node = document.createTextNode(open ? raw.slice(raw.indexOf("\n") + 1) : text);
    const code = el("code", {}, node);
    into.replaceChildren(el("pre", { tabindex: "0", role: "group", "aria-label": `Code ${lang ?? ""}`.trim() }, code));
    if (open) this.#code = { text: node, fence };
    else {
      colour(code, lang);
      into.append(button("Copy", () => void copy(text), { class: "small copy-code", "aria-label": "Copy code" }));
    }
  }

  /** The last block is whole: the next one gets a place of its own. */
  #settle(): void {
    this.#live = null;
    this.#code = null;
  }
}

type Code = Token & { readonly lang?: string; readonly text: string };
