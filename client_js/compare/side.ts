/** One side: its figures, and its readers by customer, each a sign that changes with what the reader does. */

import { el } from "../chat/ui.ts";
import { counts, type Plan, percent, SIGNS, type Side, type Tenant } from "./burst.ts";

const SVG = "http://www.w3.org/2000/svg";
const KNOWN: Readonly<Record<string, readonly [title: string, words: string]>> = {
  fcfs: ["First come, first served", "Who asked first is served first, at full speed, until the answer is complete."],
  fair_qoe: [
    "Fair, at reading speed",
    "Who has enough to read stands back for who has nothing, and small customers are not made to wait for a large one.",
  ],
};

/** A policy's name for people. */
export function titleOf(model: string): string {
  return KNOWN[model.replace(/^compare-/, "")]?.[0] ?? model;
}

export class SideView {
  readonly element: HTMLElement;
  readonly #figures = new Map<string, HTMLElement>();
  readonly #readers: Reader[] = [];
  readonly #tenants: HTMLElement[] = [];

  constructor(model: string, plan: Plan) {
    const words = KNOWN[model.replace(/^compare-/, "")]?.[1] ?? "";
    const figures = el("dl", { class: "figures" });
    for (const name of ["average quality", "never had to wait", "waiting now", "reading now"]) {
      const value = el("dd", {}, "–");
      this.#figures.set(name, value);
      figures.append(el("div", {}, el("dt", {}, name), value));
    }
    const title = el("h2", {}, titleOf(model));
    this.element = el("section", { class: "side" }, title, el("p", {}, words), figures);
    const fields = plan.tenants.map((name, number) => this.#group(name, number, plan));
    for (const [tenant] of plan.readers) {
      const reader = new Reader();
      this.#readers.push(reader);
      fields[tenant]?.append(reader.element);
    }
  }

  show(side: Side): void {
    [...side.readers].forEach((letter, number) => {
      this.#readers[number]?.show(letter);
    });
    const { w = 0, s = 0, r = 0 } = counts(side.readers);
    const values = [percent(side.qoe), percent(side.perfect), `${w + s}`, `${r}`];
    [...this.#figures.values()].forEach((figure, number) => {
      figure.textContent = values[number] ?? "";
    });
    side.tenants.forEach((tenant, number) => {
      const figure = this.#tenants[number];
      if (figure) figure.textContent = told(tenant);
    });
  }

  #group(name: string, number: number, plan: Plan): HTMLElement {
    const asks = plan.readers.filter(([tenant]) => tenant === number).length;
    const figure = el("span");
    this.#tenants.push(figure);
    const field = el("div", { class: "field", role: "img", "aria-label": `Readers of ${customer(name, number)}` });
    const heading = el("h3", {}, `${customer(name, number)}, ${asks} questions`, figure);
    this.element.append(el("div", { class: "tenant" }, heading, field));
    return field;
  }
}

class Reader {
  readonly element = document.createElementNS(SVG, "svg");
  readonly #use = document.createElementNS(SVG, "use");
  #letter = "";

  constructor() {
    this.element.append(this.#use);
    this.show(".");
  }

  show(letter: string): void {
    if (letter === this.#letter) return;
    this.#letter = letter;
    const sign = SIGNS[letter]?.[0] ?? "absent";
    this.element.setAttribute("class", `reader ${letter === "." ? "absent" : letter}`);
    this.#use.setAttribute("href", `#${sign}`);
  }
}

function customer(name: string, number: number): string {
  return number === 0 ? "The large customer" : `Small customer ${name.replace(/\D/g, "")}`;
}

function told({ qoe, wait_s: wait }: Tenant): string {
  return qoe === null || wait === null ? "" : `quality ${percent(qoe)}, first word after ${wait.toFixed(1)} s`;
}
