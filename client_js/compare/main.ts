/** Puts the comparison together. */

import { loadAdminKey, loadSettings, saveAdminKey } from "../chat/settings.ts";
import { byId } from "../chat/ui.ts";
import { type Frame, type Line, type Plan, verdict } from "./burst.ts";
import { Charts } from "./charts.ts";
import { begin, follow } from "./feed.ts";
import { SideView, titleOf } from "./side.ts";

const beginning = byId<HTMLButtonElement>("begin");
const TROUBLE: Readonly<Record<number, string>> = {
  0: "The gateway does not answer. Trying again.",
  401: "This page needs the admin key. The link that the demo prints has it.",
  404: "This gateway has nothing to compare: start scripts/demo, and follow the link that it prints.",
};

/** What the page shows of the burst that is followed. */
class Page {
  readonly #frames: Frame[] = [];
  #titles: readonly string[] = [];
  #views: SideView[] = [];
  #charts: Charts | null = null;
  #drawing = false;
  readonly #state = { running: false, troubled: true };

  /** A crowd can be sent when none is on its way and the gateway answers. */
  allow(state: { running?: boolean; troubled?: boolean }): void {
    Object.assign(this.#state, state);
    beginning.disabled = this.#state.running || this.#state.troubled;
  }

  take(line: Line): void {
    if ("plan" in line) this.#begin(line.plan);
    else if ("frame" in line) this.#add(line.frame);
    else if ("failed" in line) this.#end(line.failed);
    else this.#end("");
  }

  #begin(plan: Plan): void {
    this.#titles = plan.sides.map(titleOf);
    this.#frames.length = 0;
    this.#views = plan.sides.map((model) => new SideView(model, plan));
    byId("sides").replaceChildren(...this.#views.map(({ element }) => element));
    this.#charts = new Charts(byId("charts"), this.#titles);
    byId("verdict").hidden = true;
    this.allow({ running: true });
    this.#draw();
  }

  #add(frame: Frame): void {
    this.#frames.push(frame);
    this.#draw();
  }

  /** Frames that come together (a page that comes late gets all that were) are drawn once. */
  #draw(): void {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.draw();
    });
  }

  draw(): void {
    const last = this.#frames.at(-1);
    if (last)
      this.#views.forEach((view, number) => {
        const side = last.sides[number];
        if (side) view.show(side);
      });
    if (last) byId("clock").textContent = `${Math.round(last.t)} s`;
    this.#charts?.draw(this.#frames);
  }

  #end(failure: string): void {
    const last = this.#frames.at(-1);
    beginning.textContent = "Send the crowd again";
    this.allow({ running: false });
    byId("notice").textContent = failure;
    byId("verdict").hidden = !last || failure !== "";
    if (last) byId("verdict").textContent = verdict(this.#titles, last);
  }
}

/** The demo's link carries the key behind the #, which no server sees. */
function takeKeyFromLink(): void {
  const found = new URLSearchParams(location.hash.slice(1)).get("admin");
  if (!found) return;
  saveAdminKey(found);
  history.replaceState(null, "", location.pathname);
}

function run(page: Page): void {
  const troubled = (status: number) => {
    byId("notice").textContent = TROUBLE[status] ?? "";
    byId("ask-key").hidden = status !== 401;
    page.allow({ troubled: status in TROUBLE });
  };
  void follow(loadAdminKey(), (line) => page.take(line), troubled);
}

takeKeyFromLink();
document.documentElement.dataset.theme = loadSettings().theme;
const page = new Page();
beginning.addEventListener("click", async () => {
  page.allow({ running: true });
  const refused = await begin(loadAdminKey());
  if (refused) page.allow({ running: false });
  byId("notice").textContent = refused ?? "";
});
byId("ask-key").addEventListener("submit", (event) => {
  event.preventDefault();
  saveAdminKey(byId<HTMLInputElement>("admin").value.trim());
  run(page);
});
addEventListener("resize", () => page.draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => page.draw());
run(page);
