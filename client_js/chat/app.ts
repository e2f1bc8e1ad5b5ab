/** The chat: one conversation on the page, at most one answer running. */

import { codePoints } from "../src/graphemes.ts";
import type { Gateway } from "../src/stream.ts";
import { Answer } from "./answer.ts";
import { type Settings, saveSettings } from "./settings.ts";
import { Sidebar } from "./sidebar.ts";
import { type Conversation, newConversation, type Store, type Turn } from "./store.ts";
import { type AssistantTurn, assistantTurn, type TurnActs, userTurn } from "./turns.ts";
import { atEnd, byId, el } from "./ui.ts";

const SAVE_MS = 1000;

/** Whether there is more of an answer: at the gateway, or here and not read yet. */
function canGoOn({ status, stream, shown, text }: Turn): boolean {
  if (status === "running") return stream !== undefined;
  return status === "done" && shown !== undefined && shown < codePoints(text);
}

export class App {
  readonly #store: Store;
  readonly #settings: Settings;
  readonly #gateway: () => Gateway;
  readonly #log = byId("log");
  readonly #send = byId<HTMLButtonElement>("send");
  readonly #stop = byId<HTMLButtonElement>("stop");
  readonly #sidebar: Sidebar;
  readonly #acts: TurnActs = {
    regenerate: (turn) => this.#askAgain(turn),
    resend: (turn, text) => this.#resend(turn, text),
    skip: () => this.#answer?.skip(),
  };
  #conversation: Conversation;
  #answer: Answer | null = null;
  #answering: Conversation | null = null;
  #element: HTMLElement | null = null; // the running answer's
  #savedAt = 0;
  #sticks = true; // the reader is where the text grows

  constructor(store: Store, settings: Settings, gateway: () => Gateway) {
    this.#store = store;
    this.#settings = settings;
    this.#gateway = gateway;
    this.#sidebar = new Sidebar({
      open: (id) => this.open(id),
      rename: (conversation, title) => this.#rename(conversation, title),
      remove: (conversation) => this.#remove(conversation),
    });
    this.#conversation = newConversation(settings.model);
  }

  get busy(): boolean {
    return this.#answer !== null;
  }

  get answer(): Answer | null {
    return this.#answer;
  }

  /** The last conversation, and its answer if that can go on. */
  restore(): void {
    for (const conversation of this.#store.all()) {
      const turn = conversation.turns.at(-1);
      if (turn && canGoOn(turn)) {
        this.#conversation = conversation;
        this.#run(turn, (answer) => answer.goOn());
        return;
      }
      if (turn?.status !== "running") continue;
      Object.assign(turn, { status: "failed", note: "The page was left before the answer was complete." });
      this.#store.save(conversation);
    }
    this.show();
  }

  newChat(): void {
    this.#conversation = newConversation(this.#settings.model);
    this.show();
  }

  open(id: string): void {
    const found = this.#answering?.id === id ? this.#answering : this.#store.all().find((each) => each.id === id);
    if (found) this.#conversation = found;
    const turn = found?.turns.at(-1);
    // Another tab has begun this answer, or was left with it.
    if (turn && !this.busy && canGoOn(turn)) this.#run(turn, (answer) => answer.goOn());
    else this.show();
  }

  ask(text: string): void {
    if (this.busy || !text) return;
    this.#conversation.title ||= text.replace(/\s+/g, " ").slice(0, 60);
    this.#conversation.turns.push({ role: "user", text });
    this.#reply();
  }

  stop(): void {
    this.#answer?.stop();
  }

  /** The text of the last message that was sent, to be edited. */
  editLast(): void {
    const buttons = this.#log.querySelectorAll<HTMLButtonElement>(".user .edit");
    buttons[buttons.length - 1]?.click();
  }

  /** Say something that belongs to no answer. */
  say(text: string): void {
    byId("notice").textContent = text;
  }

  leavePage(): void {
    this.#answer?.leavePage();
    if (this.#answering) this.#store.save(this.#answering);
  }

  show(): void {
    const turns = this.#conversation.turns.map((turn) => {
      if (turn.role === "user") return userTurn(turn, this.#acts);
      return turn === this.#answer?.turn && this.#element ? this.#element : assistantTurn(turn, this.#acts).element;
    });
    this.#log.replaceChildren(...turns);
    byId("welcome").hidden = turns.length > 0;
    this.#sidebar.show(this.#store.all(), this.#conversation.id);
    this.#buttons();
    this.#sticks = true;
    this.#log.scrollTop = this.#log.scrollHeight;
    document.body.classList.remove("with-sidebar");
  }

  #buttons(): void {
    this.#send.disabled = this.busy;
    this.#stop.disabled = !this.busy;
  }

  #reply(): void {
    const turn: Turn = { role: "assistant", text: "", status: "running" };
    const { turns } = this.#conversation;
    const system = this.#settings.system.trim();
    const messages = turns.filter(({ text }) => text).map(({ role, text }) => ({ role, content: text }));
    if (system) messages.unshift({ role: "system" as Turn["role"], content: system });
    turns.push(turn);
    this.#conversation.model = this.#settings.model;
    this.#run(turn, (answer) => answer.start({ model: this.#settings.model, messages }));
  }

  #run(turn: Turn, begin: (answer: Answer) => void): void {
    const conversation = this.#conversation;
    const shown = assistantTurn(turn, this.#acts, true);
    this.#element = shown.element;
    this.#answering = conversation;
    this.#answer = new Answer(turn, this.#settings, this.#gateway(), shown.places, {
      changed: () => this.#changed(),
      ended: () => this.#ended(turn, shown),
    });
    this.#save(conversation);
    this.show();
    begin(this.#answer);
  }

  #changed(): void {
    if (this.#follow) this.#log.scrollTop = this.#log.scrollHeight;
    if (this.#answering && Date.now() - this.#savedAt > SAVE_MS) this.#save(this.#answering);
  }

  get #follow(): boolean {
    return this.#answering === this.#conversation && this.#sticks;
  }

  #ended(turn: Turn, { places, settle }: AssistantTurn): void {
    const follow = this.#follow;
    settle();
    if (turn.status === "done") places.note.replaceChildren(); // the strip says it
    if (this.#answering) this.#save(this.#answering);
    this.#answer = this.#answering = this.#element = null;
    if (follow) this.#log.scrollTop = this.#log.scrollHeight;
    this.#sidebar.show(this.#store.all(), this.#conversation.id);
    this.#buttons();
  }

  #save(conversation: Conversation): void {
    this.#savedAt = conversation.changed = Date.now();
    if (!this.#store.save(conversation)) this.say("This browser has no room left: the conversation is not kept.");
  }

  #askAgain(turn: Turn): void {
    this.#cutAt(turn, () => this.#reply());
  }

  #resend(turn: Turn, text: string): void {
    this.#cutAt(turn, () => this.ask(text));
  }

  /** Forget a turn and what follows it, then go on. */
  #cutAt(turn: Turn, go: () => void): void {
    const at = this.#conversation.turns.indexOf(turn);
    if (this.busy || at < 0) return;
    this.#conversation.turns.splice(at);
    go();
  }

  #rename(conversation: Conversation, title: string): void {
    const same = [this.#conversation, this.#answering].filter((each) => each?.id === conversation.id);
    for (const each of [conversation, ...same]) if (each) each.title = title;
    this.#save(conversation);
    this.#sidebar.show(this.#store.all(), this.#conversation.id);
  }

  #remove(conversation: Conversation): void {
    if (conversation.id === this.#answering?.id) {
      this.stop();
      this.#answering = null; // what still comes of it is not kept
    }
    this.#store.remove(conversation.id);
    if (conversation.id === this.#conversation.id) this.newChat();
    else this.show();
  }

  /** The settings have changed. */
  settingsChanged(): void {
    saveSettings(this.#settings);
    this.#answer?.setPace();
  }

  /** How far the reader has scrolled in the running answer. */
  scrolled(): void {
    this.#sticks = atEnd(this.#log);
    if (!this.#element?.isConnected) return;
    const text = this.#element.querySelector<HTMLElement>(".text") ?? el("div");
    const { top, height } = text.getBoundingClientRect();
    const seen = this.#log.getBoundingClientRect().bottom - top;
    if (height) this.#answer?.scrolled(Math.min(1, Math.max(0, seen / height)));
  }
}
