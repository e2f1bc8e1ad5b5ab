/** One answer that is coming: from the stream through the pacer to the page. */

import { Jitter, ReaderSpeed } from "../src/adapt.ts";
import { announceTo, Presenter } from "../src/dom.ts";
import { codePoints } from "../src/graphemes.ts";
import { paceOf } from "../src/pace.ts";
import { Pacer } from "../src/pacer.ts";
import { ReaderReports } from "../src/reports.ts";
import { AndanteStream, type Failure, type Gateway, type StreamItem, type StreamState } from "../src/stream.ts";
import { MarkdownView } from "./markdown.ts";
import { paceSpec, rateOf, type Settings } from "./settings.ts";
import type { Turn } from "./store.ts";
import { HELD, inWords, Strip } from "./strip.ts";
import { Timeline } from "./timeline.ts";
import { byId } from "./ui.ts";

const TICK_MS = 250;
const SAME_DELIVERY_MS = 5;
const LOST = "The connection is lost.";
/** What a browser says of a lost network is for programmers. */
const OURS: Readonly<Record<string, string>> = { network: LOST, silent: LOST };
const MARKS = /[*_`#>|~]/g; // a screen reader would spell them out

/** What an answer tells the page. `changed` comes often while it runs, `ended` once. */
export interface Hooks {
  readonly changed: () => void;
  readonly ended: () => void;
}

/** Where an answer draws: its text, what it says of itself, and its strip. */
export interface Places {
  readonly text: HTMLElement;
  readonly note: HTMLElement;
  readonly strip: HTMLElement;
}

export class Answer {
  readonly turn: Turn;
  readonly #settings: Settings;
  readonly #gateway: Gateway;
  readonly #hooks: Hooks;
  readonly #places: Places;
  readonly #pacer: Pacer;
  readonly #presenter: Presenter;
  readonly #markdown: MarkdownView;
  readonly #heard: ReturnType<typeof announceTo>;
  readonly #timeline = new Timeline();
  readonly #strip = new Strip(this.#timeline);
  readonly #jitter = new Jitter();
  readonly #speed: ReaderSpeed;
  readonly #began = performance.now();
  readonly #ticking: ReturnType<typeof setInterval>;
  #stream: AndanteStream | null = null;
  #reports: ReaderReports | null = null;
  #state: StreamState | null = null;
  #before = 0; // characters that an earlier visit has shown
  #lastDelivery = 0;
  #trouble = "";

  constructor(turn: Turn, settings: Settings, gateway: Gateway, places: Places, hooks: Hooks) {
    this.turn = turn;
    this.#settings = settings;
    this.#gateway = gateway;
    this.#places = places;
    this.#hooks = hooks;
    this.#pacer = new Pacer({ rate: rateOf(settings) });
    this.#markdown = new MarkdownView(places.text);
    this.#heard = announceTo(byId("heard"), settings.language);
    this.#speed = new ReaderSpeed(rateOf(settings));
    this.#presenter = new Presenter({
      pacer: this.#pacer,
      language: settings.language,
      write: (text) => this.#write(text),
      finished: () => this.#end(),
    });
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
    places.strip.append(this.#strip.element);
    if (document.visibilityState === "hidden") this.visible(false); // a page that was opened in a tab behind
  }

  /** Ask for a new answer. */
  start(body: Record<string, unknown>): void {
    void this.#follow(new AndanteStream({ ...this.#gateway, body: { ...body, pace: paceSpec(this.#settings) } }));
  }

  /** Go on with one that an earlier visit of the page began. */
  goOn(): void {
    const { text, shown = 0, stream } = this.turn;
    const characters = [...text];
    this.#before = shown;
    this.#write(characters.slice(0, shown).join(""));
    this.#timeline.deliver(0, shown);
    this.#deliver(characters.slice(shown).join(""));
    if (this.turn.status === "done") {
      this.#pacer.end(performance.now()); // all of it had come
      return;
    }
    const { id, last } = stream ?? { id: "", last: null };
    void this.#follow(new AndanteStream({ ...this.#gateway, id, ...(last === null ? {} : { lastEventId: last }) }));
  }

  /** End it; what has come is shown at once. */
  stop(): void {
    this.turn.status = "stopped";
    void this.#stream?.stop();
    this.skip();
  }

  /** Show what has come, without pacing. */
  skip(): void {
    this.#pacer.skip(performance.now());
    this.#presenter.wake();
  }

  /** The settings have changed: the pace counts from now. */
  setPace(): void {
    this.#pacer.setRate(rateOf(this.#settings), performance.now());
    this.#presenter.wake();
  }

  /** A hidden tab is a reader who is away. */
  visible(visible: boolean): void {
    const now = performance.now();
    if (visible) {
      this.#pacer.resume(now);
      this.#timeline.comeBack(this.#at());
      this.#jitter.restart();
    } else {
      this.#pacer.pause(now);
      this.#timeline.leave(this.#at());
    }
    this.#report(visible);
    this.#presenter.wake();
  }

  /** The page goes away. */
  leavePage(): void {
    this.#remember();
    this.#reports?.hide();
  }

  /** How much of the answer the reader has scrolled past, 0 to 1; for the pace, where they allow it. */
  scrolled(share: number): void {
    if (!this.#settings.learn || this.#settings.mode === "off" || this.#pacer.ended) return;
    this.#speed.reached(Math.round(share * this.#shown()), performance.now());
    this.#pacer.setRate(this.#speed.rate, performance.now());
  }

  #at(): number {
    return (performance.now() - this.#began) / 1000;
  }

  #shown(): number {
    return this.#before + this.#pacer.shown;
  }

  async #follow(stream: AndanteStream): Promise<void> {
    this.#stream = stream;
    for await (const item of stream) this.#take(item);
    this.#pacer.end(performance.now());
    this.#presenter.wake();
  }

  #take(item: StreamItem): void {
    if (item.type === "open") this.#opened(item.id);
    else if (item.type === "delta") this.#received(item.text);
    else if (item.type === "state") this.#stated(item.state);
    else if (item.type === "retry") this.#retrying(item.failure, item.waitMs);
    else if (item.type === "error") this.#failed(item.failure);
    else this.turn.status = "done";
  }

  #opened(id: string | null): void {
    this.#trouble = "";
    if (id !== null && !this.#reports) this.#reports = new ReaderReports(this.#gateway, id);
    this.#remember();
  }

  #received(text: string): void {
    if (text === "") return;
    this.turn.text += text;
    this.#remember();
    const now = performance.now();
    if (now - this.#lastDelivery > SAME_DELIVERY_MS) this.#jitter.delivered(now);
    this.#lastDelivery = now;
    this.#deliver(text);
  }

  #deliver(text: string): void {
    this.#pacer.push(text, performance.now());
    this.#timeline.deliver(this.#at(), codePoints(text));
    this.#presenter.wake();
  }

  /** Text and place in the stream belong together: a page that comes back goes on exactly there. */
  #remember(): void {
    this.turn.shown = this.#shown();
    if (this.#stream?.id) this.turn.stream = { id: this.#stream.id, last: this.#stream.lastEventId };
    this.#hooks.changed();
  }

  #stated(state: StreamState): void {
    this.#state = state;
    if (HELD.has(state.state)) this.#timeline.pause(this.#at());
    else this.#timeline.resume(this.#at());
  }

  #retrying({ message, status }: Failure, waitMs: number): void {
    const why = status === null ? LOST : message;
    this.#trouble = `${why} Trying again in ${Math.max(1, Math.round(waitMs / 1000))} s.`;
    this.#tick();
  }

  #failed({ code, message }: Failure): void {
    if (this.turn.status === "stopped" || code === "aborted") return;
    this.turn.status = "failed";
    this.turn.note = OURS[code] ?? message;
    this.#trouble = "";
  }

  #write(text: string): void {
    this.#markdown.append(text);
    this.#heard.write(text.replace(MARKS, ""));
    this.#hooks.changed();
  }

  #tick(): void {
    const at = this.#at();
    this.#timeline.sample(at, this.#shown());
    if (this.#markdown.stale) this.#markdown.append("");
    this.#places.note.textContent = this.#trouble || inWords(this.#state, at, this.turn.text !== "");
    this.#showStrip(at, false);
    this.#report(document.visibilityState === "visible");
  }

  #showStrip(at: number, finished: boolean): void {
    const moment = { at, read: this.#shown(), lead: this.#pacer.lead(performance.now()), finished, state: this.#state };
    this.#strip.show(paceOf(paceSpec(this.#settings)), { ...moment, whole: this.#before === 0 });
  }

  #report(visible: boolean): void {
    const rate = rateOf(this.#settings);
    this.#reports?.update({
      shown: this.#shown(),
      buffered: this.#pacer.buffered,
      visible,
      rate: rate === Infinity ? null : rate,
      jitter_ms: Math.round(this.#jitter.ms),
    });
  }

  #end(): void {
    clearInterval(this.#ticking);
    this.#markdown.end();
    this.#heard.end();
    const at = this.#at();
    this.#timeline.sample(at + 1e-3, this.#shown());
    this.#showStrip(at, this.turn.status === "done");
    this.#reports?.close();
    delete this.turn.stream;
    delete this.turn.shown;
    if (this.turn.status === "running") this.turn.status = "stopped";
    if (this.turn.status === "done") this.turn.note = this.#strip.summary;
    if (this.turn.status === "stopped") this.turn.note = "stopped";
    this.#hooks.ended();
  }
}
