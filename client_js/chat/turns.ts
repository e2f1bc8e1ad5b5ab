/** How the turns of a conversation look, and what can be done with each. */

import type { Places } from "./answer.ts";
import { MarkdownView } from "./markdown.ts";
import type { Turn } from "./store.ts";
import { button, copy, el } from "./ui.ts";

export interface TurnActs {
  readonly regenerate: (turn: Turn) => void;
  readonly resend: (turn: Turn, text: string) => void;
  readonly skip: () => void;
}

/** A turn of the reader's. */
export function userTurn(turn: Turn, acts: TurnActs): HTMLElement {
  const text = el("div", { class: "text" }, turn.text);
  const tools = el("div", { class: "tools" });
  const article = el("article", { class: "turn user", "aria-label": "You" }, text, tools);
  tools.append(
    button("Edit", () => edit(article, turn, acts), { class: "small edit" }),
    button("Copy", () => void copy(turn.text), { class: "small" }),
  );
  return article;
}

function edit(article: HTMLElement, turn: Turn, acts: TurnActs): void {
  const before = Array.from(article.childNodes);
  const area = el("textarea", { "aria-label": "Edit message", rows: "3" });
  area.value = turn.text;
  const close = () => article.replaceChildren(...before);
  const send = () => {
    const text = area.value.trim();
    if (text) acts.resend(turn, text);
  };
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  });
  const tools = el("div", { class: "tools" }, button("Send again", send, { class: "small main" }));
  tools.append(button("Cancel", close, { class: "small" }));
  article.replaceChildren(area, tools);
  area.focus();
}

/** A turn of the model's on the page: empty if it is `live`, an answer draws into its places. */
export interface AssistantTurn {
  readonly element: HTMLElement;
  readonly places: Places;
  /** It runs no more. What is drawn stays where it is: a long answer that moved would all be laid out again. */
  readonly settle: () => void;
}

export function assistantTurn(turn: Turn, acts: TurnActs, live = false): AssistantTurn {
  const places = { text: el("div", { class: "text markdown", dir: "auto" }), note: el("p"), strip: el("div") };
  const tools = el("div", { class: "tools" });
  const element = el("article", { class: "turn assistant", "aria-label": "Answer" }, places.text);
  element.append(places.note, places.strip, tools);
  const settle = () => {
    element.removeAttribute("aria-busy");
    places.note.className = turn.status === "failed" ? "note error" : "note";
    places.note.textContent = turn.status === "running" ? "Not complete yet." : (turn.note ?? ""); // another tab's
    tools.replaceChildren(
      button("Copy", () => void copy(turn.text), { class: "small" }),
      button(turn.status === "failed" ? "Try again" : "Regenerate", () => acts.regenerate(turn), { class: "small" }),
    );
  };
  if (live) {
    element.setAttribute("aria-busy", "true");
    places.note.className = "note";
    tools.append(button("Show all now", acts.skip, { class: "small" }));
  } else {
    draw(turn.text, places.text);
    settle();
  }
  return { element, places, settle };
}

function draw(text: string, into: HTMLElement): void {
  const view = new MarkdownView(into);
  view.append(text);
  view.end();
}
