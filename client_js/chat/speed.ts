/** The reading speed as people understand it: words a minute, a language, and a text that runs at that speed. */

import { Presenter } from "../src/dom.ts";
import { languages } from "../src/pace.ts";
import { Pacer } from "../src/pacer.ts";
import { describe, FASTEST, rateOf, type Settings, SLOWEST, wordsOf } from "./settings.ts";
import { byId, el } from "./ui.ts";

const SAMPLES: Readonly<Record<string, string>> = {
  de: "Ein Fluss eilt nicht. Er kennt das Gefälle des Tals und nimmt sich die Zeit, die das Tal ihm gibt. ",
  fr: "Une rivière ne se presse pas. Elle connaît la pente de la vallée et prend le temps que la vallée lui donne. ",
  es: "Un río no tiene prisa. Conoce la pendiente del valle y se toma el tiempo que el valle le da. ",
  ja: "川は急がない。谷の傾きを知っていて、谷がくれるだけの時間をかけて流れていく。",
  zh: "河流并不匆忙。它知道山谷的坡度，也知道山谷给它多少时间。",
};
const ENGLISH =
  "A river does not hurry. It knows the slope of the valley, and it takes the time that the valley gives. ";

export class SpeedPanel {
  readonly #dialog = byId<HTMLDialogElement>("speed");
  readonly #slider = byId<HTMLInputElement>("words");
  readonly #language = byId<HTMLSelectElement>("language");
  readonly #learn = byId<HTMLInputElement>("learn");
  readonly #settings: Settings;
  readonly #changed: () => void;
  #preview: Presenter | null = null;

  constructor(settings: Settings, changed: () => void) {
    this.#settings = settings;
    this.#changed = changed;
    const names = new Intl.DisplayNames(undefined, { type: "language" });
    this.#language.replaceChildren(...languages.map((tag) => new Option(names.of(tag) ?? tag, tag)));
    this.#slider.min = String(SLOWEST);
    this.#slider.max = String(FASTEST);
    this.#dialog.addEventListener("close", () => this.#stopPreview());
    for (const mode of this.#modes())
      mode.addEventListener("change", () => this.#set({ mode: mode.value as Settings["mode"] }));
    this.#slider.addEventListener("input", () => this.#set({ words: Number(this.#slider.value) }));
    this.#language.addEventListener("change", () => this.#set({ language: this.#language.value, words: null }));
    this.#learn.addEventListener("change", () => this.#set({ learn: this.#learn.checked }));
    byId("usual").addEventListener("click", () => this.#set({ words: null }));
  }

  open(): void {
    this.#dialog.showModal();
    this.#show();
  }

  #modes(): HTMLInputElement[] {
    return Array.from(this.#dialog.querySelectorAll<HTMLInputElement>("input[name=mode]"));
  }

  #set(change: Partial<Settings>): void {
    Object.assign(this.#settings, change);
    this.#changed();
    this.#show();
  }

  #show(): void {
    const { mode, language, learn } = this.#settings;
    for (const each of this.#modes()) each.checked = each.value === mode;
    this.#language.value = language;
    this.#learn.checked = learn;
    this.#slider.disabled = mode === "off";
    this.#slider.value = String(wordsOf(this.#settings));
    this.#slider.setAttribute("aria-valuetext", describe(this.#settings));
    byId("words-now").textContent = describe(this.#settings);
    this.#startPreview();
  }

  /** The sample again and again, at the speed that is set. */
  #startPreview(): void {
    this.#stopPreview();
    const text = el("p");
    byId("preview").replaceChildren(text);
    const pacer = new Pacer({ rate: Math.min(rateOf(this.#settings), 1000), afterEnd: 1 });
    pacer.push((SAMPLES[this.#settings.language] ?? ENGLISH).repeat(2), performance.now());
    pacer.end(performance.now());
    this.#preview = new Presenter({
      pacer,
      write: (more) => text.append(more),
      finished: () => this.#startPreviewSoon(),
    });
  }

  #startPreviewSoon(): void {
    const before = this.#preview;
    setTimeout(() => {
      if (this.#dialog.open && this.#preview === before) this.#startPreview();
    }, 1200);
  }

  #stopPreview(): void {
    this.#preview?.end();
    this.#preview = null;
  }
}
