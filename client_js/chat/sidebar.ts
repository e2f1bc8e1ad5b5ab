/** The list of conversations: open, rename, delete, export. */

import { asMarkdown, type Conversation } from "./store.ts";
import { button, byId, download, el } from "./ui.ts";

export interface SidebarActs {
  readonly open: (id: string) => void;
  readonly rename: (conversation: Conversation, title: string) => void;
  readonly remove: (conversation: Conversation) => void;
}

export class Sidebar {
  readonly #list = byId("conversations");
  readonly #dialog = byId<HTMLDialogElement>("about-conversation");
  readonly #title = byId<HTMLInputElement>("title");
  readonly #acts: SidebarActs;
  #chosen: Conversation | null = null;

  constructor(acts: SidebarActs) {
    this.#acts = acts;
    byId("rename").addEventListener("submit", () => {
      if (this.#chosen) acts.rename(this.#chosen, this.#title.value.trim());
    });
    byId("delete").addEventListener("click", () => this.#act((each) => acts.remove(each)));
    byId("export-markdown").addEventListener("click", () =>
      this.#act((each) => download(`${fileName(each)}.md`, "text/markdown", asMarkdown(each))),
    );
    byId("export-json").addEventListener("click", () =>
      this.#act((each) => download(`${fileName(each)}.json`, "application/json", JSON.stringify(each, null, 2))),
    );
  }

  show(conversations: Conversation[], current: string): void {
    const rows = conversations.map((conversation) => {
      const { id, title } = conversation;
      const name = title || "New conversation";
      const open = button(name, () => this.#acts.open(id), {
        class: "open",
        "aria-current": id === current ? "true" : "false",
      });
      const more = button("⋯", () => this.#about(conversation), { class: "small", "aria-label": `More about ${name}` });
      return el("li", {}, open, more);
    });
    this.#list.replaceChildren(...rows);
  }

  #about(conversation: Conversation): void {
    this.#chosen = conversation;
    this.#title.value = conversation.title;
    this.#dialog.showModal();
  }

  #act(what: (conversation: Conversation) => void): void {
    this.#dialog.close();
    if (this.#chosen) what(this.#chosen);
  }
}

function fileName({ title }: Conversation): string {
  return title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40) || "conversation";
}
