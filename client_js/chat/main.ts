/** Puts the page together. */

import { watchVisibility } from "../src/dom.ts";
import { App } from "./app.ts";
import { describe, loadAdminKey, loadKey, loadSettings, saveAdminKey, saveKey, saveSettings } from "./settings.ts";
import { SpeedPanel } from "./speed.ts";
import { Store } from "./store.ts";
import { byId } from "./ui.ts";

const settings = loadSettings();
const keyField = byId<HTMLInputElement>("key");
const modelField = byId<HTMLSelectElement>("model");
const message = byId<HTMLTextAreaElement>("message");

/** A link from the demo carries keys behind the #, which no server sees; they do not stay in the address bar. */
function takeKeysFromLink(): boolean {
  const carried = new URLSearchParams(location.hash.slice(1));
  const found = carried.get("key");
  const admin = carried.get("admin");
  if (found) saveKey(found, settings.remember);
  if (admin) saveAdminKey(admin);
  if (found || admin) history.replaceState(null, "", location.pathname);
  return Boolean(found || admin);
}

/** A link that is opened in the tab of the page changes only what is behind the #, and loads nothing. */
function followLinks(app: App): void {
  addEventListener("hashchange", () => {
    if (!takeKeysFromLink()) return;
    keyField.value = loadKey();
    byId("to-compare").hidden = loadAdminKey() === "";
    void loadModels(app);
  });
}

function gateway() {
  return { url: "", key: keyField.value.trim() };
}

async function loadModels(app: App): Promise<void> {
  const key = keyField.value.trim();
  const answer = await fetch("/v1/models", { headers: key ? { authorization: `Bearer ${key}` } : {} }).catch(
    () => null,
  );
  const body = await answer?.json().catch(() => null);
  if (!answer?.ok || !body?.data) return app.say(body?.error?.message ?? "The gateway does not answer.");
  app.say("");
  const names: string[] = body.data.map(({ id }: { id: string }) => id);
  modelField.replaceChildren(...names.map((name) => new Option(name, name)));
  if (names.includes(settings.model)) modelField.value = settings.model;
  settings.model = modelField.value;
}

function applyTheme(): void {
  document.documentElement.dataset.theme = settings.theme;
}

function wireSettings(app: App): void {
  const remember = byId<HTMLInputElement>("remember");
  const system = byId<HTMLTextAreaElement>("system");
  const theme = byId<HTMLSelectElement>("theme");
  keyField.value = loadKey();
  remember.checked = settings.remember;
  system.value = settings.system;
  theme.value = settings.theme;
  byId("open-settings").addEventListener("click", () => byId<HTMLDialogElement>("settings").showModal());
  byId("settings").addEventListener("change", () => {
    Object.assign(settings, { remember: remember.checked, system: system.value, theme: theme.value });
    saveSettings(settings);
    saveKey(keyField.value.trim(), settings.remember);
    applyTheme();
  });
  keyField.addEventListener("change", () => void loadModels(app));
  modelField.addEventListener("change", () => {
    settings.model = modelField.value;
    saveSettings(settings);
  });
}

function wireSpeed(app: App): void {
  const opener = byId("open-speed");
  const name = () => {
    opener.textContent = describe(settings);
  };
  const panel = new SpeedPanel(settings, () => {
    app.settingsChanged();
    name();
  });
  opener.addEventListener("click", () => panel.open());
  name();
}

function wireComposer(app: App): void {
  const send = () => {
    if (app.busy) return;
    const text = message.value.trim();
    message.value = "";
    app.ask(text);
  };
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  message.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    } else if (event.key === "ArrowUp" && message.value === "") {
      event.preventDefault();
      app.editLast();
    }
  });
  byId("stop").addEventListener("click", () => {
    app.stop();
    message.focus();
  });
  for (const example of document.querySelectorAll<HTMLButtonElement>(".example")) {
    example.addEventListener("click", () => app.ask(example.textContent ?? ""));
  }
}

function wireKeys(app: App): void {
  document.addEventListener("keydown", (event) => {
    const writing = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
    if (event.key === "Escape" && app.busy && !document.querySelector("dialog[open]")) app.stop();
    else if (event.key === "/" && !writing) {
      event.preventDefault();
      message.focus();
    } else if (event.key.toLowerCase() === "o" && event.shiftKey && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      app.newChat();
      message.focus();
    }
  });
}

function wirePage(app: App): void {
  byId("to-compare").hidden = loadAdminKey() === "";
  byId("new").addEventListener("click", () => {
    app.newChat();
    message.focus();
  });
  byId("open-sidebar").addEventListener("click", () => document.body.classList.toggle("with-sidebar"));
  byId("log").addEventListener("scroll", () => app.scrolled(), { passive: true });
  const turned = (visible: boolean) => app.answer?.visible(visible);
  watchVisibility(turned, () => app.leavePage());
}

takeKeysFromLink();
applyTheme();
const app = new App(new Store(localStorage), settings, gateway);
wireSettings(app);
wireSpeed(app);
wireComposer(app);
wireKeys(app);
wirePage(app);
followLinks(app);
app.restore(); // also where the gateway cannot be reached
await loadModels(app);
