/** The figures of both sides over time, a line each. */

import { el } from "../chat/ui.ts";
import { type Frame, type Side, smallCustomers } from "./burst.ts";

const SHORTEST_S = 30;
const SETTLED_S = 4; // before that a handful of readers make the figures jump
const INKS = ["delivered", "read"];
const DASHES = [[5, 4], []];

const FIGURES: readonly (readonly [name: string, of: (side: Side) => number | null])[] = [
  ["Average quality so far", (side) => side.qoe],
  ["Readers who never had to wait", (side) => side.perfect],
  ["Average quality of the small customers", smallCustomers],
];

export class Charts {
  readonly #canvases: HTMLCanvasElement[] = [];

  constructor(place: HTMLElement, titles: readonly string[]) {
    place.replaceChildren();
    for (const [name] of FIGURES) {
      const canvas = el("canvas", { role: "img", "aria-label": name });
      const key = el("span", { class: "key", "aria-hidden": "true" }, ...titles.map((title) => el("span", {}, title)));
      this.#canvases.push(canvas);
      place.append(el("figure", {}, el("figcaption", {}, name), canvas, key));
    }
  }

  draw(frames: readonly Frame[]): void {
    FIGURES.forEach(([name, of], number) => {
      const canvas = this.#canvases[number];
      if (!canvas) return;
      draw(canvas, frames, of);
      const last = frames.at(-1)?.sides.map((side) => of(side)?.toFixed(2) ?? "unknown");
      canvas.setAttribute("aria-label", `${name}: ${last?.join(" against ") ?? "nothing yet"}`);
    });
  }
}

function draw(canvas: HTMLCanvasElement, frames: readonly Frame[], of: (side: Side) => number | null): void {
  const { clientWidth: width, clientHeight: height } = canvas;
  const pen = canvas.getContext("2d");
  if (!width || !height || !pen) return;
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  pen.scale(devicePixelRatio, devicePixelRatio);
  const style = getComputedStyle(canvas);
  const ink = (name: string) => style.getPropertyValue(`--${name}`);
  const most = Math.max(SHORTEST_S, frames.at(-1)?.t ?? 0);
  const left = 42;
  const x = (t: number) => left + (t / most) * (width - left - 14);
  const y = (value: number) => height - 18 - value * (height - 26);
  axes(pen, ink, { x, y, most });
  INKS.forEach((name, number) => {
    pen.beginPath();
    pen.strokeStyle = ink(name);
    pen.lineWidth = 2;
    pen.setLineDash(DASHES[number] ?? []);
    for (const { t, sides } of frames) {
      const side = sides[number];
      const value = side && t >= SETTLED_S ? of(side) : null;
      if (value !== null) pen.lineTo(x(t), y(value));
    }
    pen.stroke();
  });
}

interface Scale {
  readonly x: (t: number) => number;
  readonly y: (value: number) => number;
  readonly most: number;
}

function axes(pen: CanvasRenderingContext2D, ink: (name: string) => string, { x, y, most }: Scale): void {
  pen.strokeStyle = ink("line");
  pen.fillStyle = ink("soft");
  pen.lineWidth = 1;
  pen.setLineDash([]);
  pen.font = "11px system-ui, sans-serif";
  pen.textAlign = "right";
  for (const value of [0, 0.5, 1]) {
    pen.beginPath();
    pen.moveTo(x(0), y(value));
    pen.lineTo(x(most), y(value));
    pen.stroke();
    pen.fillText(value === 0 ? "0" : `${value * 100} %`, x(0) - 4, y(value) + 4);
  }
  pen.textAlign = "center";
  for (let t = 0; t <= most; t += 30) pen.fillText(t === 0 ? "0 s" : `${t}`, x(t), y(0) + 14);
}
