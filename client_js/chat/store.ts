/** Conversations, kept in this browser only. */

/** `stream` is there while the answer can be continued: its id at the gateway, and the last event that `text` holds. */
export interface Turn {
  role: "user" | "assistant";
  text: string;
  status?: "running" | "done" | "stopped" | "failed";
  note?: string;
  shown?: number;
  stream?: { id: string; last: string | null };
}

export interface Conversation {
  id: string;
  title: string;
  /** Milliseconds since 1970. */
  changed: number;
  model: string;
  turns: Turn[];
}

const PREFIX = "andante.conversation.";
const MOST = 200;

export function newConversation(model: string): Conversation {
  const id = Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36).padStart(2, "0")).join(
    "",
  );
  return { id, title: "", changed: Date.now(), model, turns: [] };
}

/** What a browser's `Storage` has. */
export type Box = Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">;

/** At most 200 conversations; the oldest give way, also when the browser's room is used up. */
export class Store {
  readonly #box: Box;

  constructor(box: Box) {
    this.#box = box;
  }

  /** All of them, the latest first. One that cannot be read is left out. */
  all(): Conversation[] {
    const found = this.#keys().flatMap((key) => parsed(this.#box.getItem(key)));
    return found.sort((a, b) => b.changed - a.changed);
  }

  /** Keep it as it is now. False if there is no room even with nothing else. */
  save(conversation: Conversation): boolean {
    // Called every second while an answer comes: the others are read only where one has to go.
    for (;;) {
      try {
        this.#box.setItem(PREFIX + conversation.id, JSON.stringify(conversation));
        if (this.#keys().length <= MOST) return true;
      } catch (error) {
        if (!(error instanceof DOMException)) throw error;
      }
      const oldest = this.all().findLast(({ id }) => id !== conversation.id);
      if (!oldest) return false;
      this.remove(oldest.id);
    }
  }

  remove(id: string): void {
    this.#box.removeItem(PREFIX + id);
  }

  #keys(): string[] {
    const keys = Array.from({ length: this.#box.length }, (_, index) => this.#box.key(index) ?? "");
    return keys.filter((key) => key.startsWith(PREFIX));
  }
}

function parsed(text: string | null): Conversation[] {
  try {
    const found = JSON.parse(text ?? "");
    return typeof found.id === "string" && Array.isArray(found.turns) ? [found] : [];
  } catch {
    return [];
  }
}

/** A conversation as Markdown, for a file. */
export function asMarkdown({ title, model, turns }: Conversation): string {
  const parts = turns.map(({ role, text }) => `## ${role === "user" ? "You" : model}\n\n${text}\n`);
  return [`# ${title}\n`, ...parts].join("\n");
}
