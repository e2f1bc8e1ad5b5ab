/** What the reader has set, kept in this browser. */

import { languages, type PaceSpec, paceOf, usualWordsPerMinute } from "../src/pace.ts";

export interface Settings {
  mode: "reading" | "listening" | "off";
  language: string;
  /** Words (Chinese and Japanese: characters) a minute; null: what is usual for the language. */
  words: number | null;
  /** Whether the pace follows the reader's scrolling. */
  learn: boolean;
  system: string;
  theme: "auto" | "light" | "dark";
  remember: boolean;
  model: string;
}

const NAME = "andante.settings";
const KEY = "andante.key";
const ADMIN = "andante.admin";
export const SLOWEST = 60;
export const FASTEST = 900;

function defaults(language: string): Settings {
  const known = (language.split("-")[0] as string).toLowerCase(); // "fil" is not "fi"
  return {
    mode: "reading",
    language: languages.includes(known) ? known : "en",
    words: null,
    learn: false,
    system: "",
    theme: "auto",
    remember: false,
    model: "",
  };
}

export function loadSettings(): Settings {
  const found = defaults(navigator.language);
  try {
    return { ...found, ...JSON.parse(localStorage.getItem(NAME) ?? "{}") };
  } catch {
    return found;
  }
}

export function saveSettings(settings: Settings): void {
  localStorage.setItem(NAME, JSON.stringify(settings));
}

/** The API key: for this tab, or for this browser if the reader wants that. */
export function loadKey(): string {
  return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "";
}

export function saveKey(key: string, remember: boolean): void {
  sessionStorage.setItem(KEY, key);
  if (remember && key) localStorage.setItem(KEY, key);
  else localStorage.removeItem(KEY);
}

/** The demo's admin key, for this tab only; "" where there is none. */
export function loadAdminKey(): string {
  return sessionStorage.getItem(ADMIN) ?? "";
}

export function saveAdminKey(key: string): void {
  sessionStorage.setItem(ADMIN, key);
}

/** The request's field `pace`. */
export function paceSpec({ mode, language, words }: Settings): PaceSpec {
  if (mode === "off") return "off";
  return { kind: mode, language, ...(words === null ? {} : { words_per_minute: words }) };
}

/** Characters a second; Infinity when the pace is off. */
export function rateOf(settings: Settings): number {
  return paceOf(paceSpec(settings)).rate;
}

/** Words a minute that are in force, to the whole number. */
export function wordsOf({ mode, language, words }: Settings): number {
  return Math.round(words ?? usualWordsPerMinute(language, mode === "listening" ? "listening" : "reading"));
}

/** In words, for the button. */
export function describe(settings: Settings): string {
  if (settings.mode === "off") return "No pacing";
  const unit = ["ja", "zh"].includes(settings.language) ? "characters" : "words";
  return `${wordsOf(settings)} ${unit}/min${settings.mode === "listening" ? ", listening" : ""}`;
}
