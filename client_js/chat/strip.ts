/** The strip under an answer: due, delivered and read over time, the lead, pauses, QoE. */

import type { Pace } from "../src/pace.ts";
import type { StreamState } from "../src/stream.ts";
import type { Timeline } from "./timeline.ts";
import { el } from "./ui.ts";

/** The states of a job that has begun and is at no engine. */
export const HELD: ReadonlySet<string> = new Set(["paused", "parked"]);

const SOON_S = 1; // who waits less long is told nothing
const SHORTEST_S = 8; // the strip's width before the answer is longer

/** What the strip shows at a moment. `lead` in seconds; the gateway's own state where it sends one. */
export interface Moment {
  readonly at: number;
  readonly read: number;
  readonly lead: number;
  readonly finished: boolean;
  readonly state: StreamState | null;
  /** Whether all of the answer was seen from its start, so that its QoE is known here. */
  readonly whole: boolean;
}

export class Strip {
  readonly element: HTMLElement;
  readonly #canvas = el("canvas", { role: "img", "aria-label": "Due, delivered and read over time" });
  readonly #figures = el("dl");
  readonly #timeline: Timeline;
  #text = "";

  constructor(timeline: Timeline) {
    this.#timeline = timeline;
    const key = el("span", { class: "key", "aria-hidden": "true" });
    for (const line of ["due", "delivered", "read"]) key.append(el("span", { class: line }, line));
    this.element = el("figure", { class: "strip" }, this.#canvas, el("figcaption", {}, key, this.#figures));
  }

  /** The figures as one line of text, for keeping. */
  get summary(): string {
    return this.#text;
  }

  show(pace: Pace, moment: Moment): void {
    const { at, read, finished, state, lead, whole } = moment;
    const qoe = whole ? this.#timeline.qoe(pace, at, finished) : null;
    const pauses = this.#timeline.pauses.length;
    const figures: [string, string][] = [
      ["lead", finished ? "–" : `${lead.toFixed(1)} s`],
      ["QoE", qoe?.toFixed(2) ?? "–"],
      ["at the gateway", state?.qoe?.toFixed(2) ?? "–"],
      ["delivered", `${this.#timeline.delivered}`],
      ["read", `${read}`],
      ["time", `${at.toFixed(1)} s`],
    ];
    if (pauses) figures.splice(2, 0, ["pauses", `${pauses}`]);
    this.#figures.replaceChildren(
      ...figures.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
    );
    this.#text = figures.map(([name, value]) => `${name} ${value}`).join(" · ");
    this.#canvas.setAttribute("aria-label", `Due, delivered and read over time. ${this.#text}`);
    this.#draw(pace, at);
  }

  #draw(pace: Pace, at: number): void {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const pen = this.#canvas.getContext("2d");
    if (!width || !height || !pen) return;
    this.#canvas.width = width * devicePixelRatio;
    this.#canvas.height = height * devicePixelRatio;
    pen.scale(devicePixelRatio, devicePixelRatio);
    const { samples, pauses, away, delivered } = this.#timeline;
    const plot = new Plot(pen, width, height, Math.max(SHORTEST_S, at), Math.max(40, delivered) * 1.1);
    plot.spans("paused", pauses, at);
    plot.spans("away", away, at);
    if (pace.paced) {
      const due = { units: plot.most, at: pace.ttftS + plot.most / pace.rate };
      plot.line(
        "due",
        [
          [pace.ttftS, 0],
          [due.at, due.units],
        ],
        [4, 3],
      );
    }
    plot.line(
      "delivered",
      samples.map(([time, units]) => [time, units]),
    );
    plot.line(
      "read",
      samples.map(([time, , units]) => [time, units]),
    );
  }
}

/** Characters over seconds on a canvas, in the inks of the page. */
class Plot {
  readonly most: number;
  readonly #pen: CanvasRenderingContext2D;
  readonly #style: CSSStyleDeclaration;
  readonly #width: number;
  readonly #height: number;
  readonly #seconds: number;

  constructor(pen: CanvasRenderingContext2D, width: number, height: number, seconds: number, most: number) {
    this.most = most;
    this.#pen = pen;
    this.#style = getComputedStyle(pen.canvas);
    this.#width = width;
    this.#height = height;
    this.#seconds = seconds;
  }

  spans(ink: string, spans: readonly (readonly [number, number])[], now: number): void {
    this.#pen.fillStyle = this.#ink(ink);
    for (const [from, to] of spans) {
      const left = this.#x(from);
      this.#pen.fillRect(left, 0, Math.max(1, this.#x(Math.min(to, now)) - left), this.#height);
    }
  }

  line(ink: string, points: (readonly [number, number])[], dashes: number[] = []): void {
    this.#pen.beginPath();
    this.#pen.strokeStyle = this.#ink(ink);
    this.#pen.lineWidth = 1.75;
    this.#pen.setLineDash(dashes);
    for (const [time, units] of points) this.#pen.lineTo(this.#x(time), this.#y(units));
    this.#pen.stroke();
  }

  #ink(name: string): string {
    return this.#style.getPropertyValue(`--${name}`);
  }

  #x(time: number): number {
    return (time / this.#seconds) * this.#width;
  }

  #y(units: number): number {
    return this.#height - 2 - (units / this.most) * (this.#height - 4);
  }
}

const PAUSED: Readonly<Record<string, string>> = {
  ahead: "You have enough to read for now, so somebody else is served meanwhile.",
  away: "Nobody was looking, so somebody else is served meanwhile.",
  share: "Others have had less than you lately, so they are served first.",
  memory: "The engine's memory is full.",
};

/** Why nothing comes, in plain words; "" when there is nothing to say. */
export function inWords(state: StreamState | null, waitedS: number, begun: boolean): string {
  if (state?.state === "queued" && waitedS > SOON_S) return queued(state);
  if (state && HELD.has(state.state)) {
    const why = PAUSED[state.reason ?? ""] ?? "The gateway has paused this answer, so that others can read too.";
    return `${why}${state.place ? ` ${places(state.place)} before it.` : ""} It goes on by itself.`;
  }
  return !begun && waitedS > SOON_S ? "Waiting for the first word." : "";
}

function queued({ place, reason }: StreamState): string {
  const why = reason === "share" ? "Others have had less than you lately and go first." : "All engines are busy.";
  if (place === null) return `Waiting for a free place. ${why}`;
  return place === 0
    ? `Waiting: yours is the next answer to start. ${why}`
    : `Waiting in the queue: ${places(place)} before yours. ${why}`;
}

function places(before: number): string {
  return `${before} ${before === 1 ? "answer is" : "answers are"}`;
}
