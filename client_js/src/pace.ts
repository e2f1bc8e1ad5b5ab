/**
 * How fast a person reads or listens, in characters (Unicode code points) a second.
 *
 * The numbers and their sources are those of the gateway's `core/pace.py` and `core/units.py`; `paces.json` of the
 * shared test vectors holds that both give the same.
 */

/** What the request field `pace` takes. */
export type PaceSpec =
  | "reading"
  | "listening"
  | "machine"
  | "off"
  | { kind: "reading" | "listening"; language?: string; words_per_minute?: number; ttft?: number }
  | { kind: "machine" }
  | { kind?: "custom"; ttft?: number; rate: number };

/** `rate` in characters a second, Infinity for a program; `ttftS`: seconds until the first one is expected. */
export interface Pace {
  readonly ttftS: number;
  readonly rate: number;
  readonly paced: boolean;
}

/** Silent reading in tokens a second, tokens per word, and characters and tokens of one text. */
const LANGUAGES: Readonly<Record<string, readonly [number, number, number, number]>> = {
  ar: [4.2, 1.75, 5850, 2216],
  de: [4.77, 1.53, 9768, 2404],
  en: [4.46, 1.12, 8424, 1888],
  es: [4.77, 1.26, 9369, 2321],
  fi: [7.19, 2.57, 9301, 3112],
  fr: [4.52, 1.33, 9360, 2502],
  he: [7.21, 2.22, 5588, 2676],
  it: [5.05, 1.54, 9577, 2693],
  ja: [5.75, 0.93, 3683, 3407],
  nl: [4.9, 1.39, 10286, 2642],
  pl: [6.5, 2.25, 9120, 3274],
  pt: [4.09, 1.3, 8795, 2210],
  ru: [5.5, 1.72, 9639, 2619],
  sl: [6.45, 2.06, 8392, 3038],
  sv: [6.49, 1.87, 8540, 2782],
  tr: [6.28, 2.17, 8501, 2824],
  zh: [3.87, 0.87, 2433, 2124],
};

const LISTENING = 155 / 238; // words a minute of an audiobook over those of silent reading

/** The languages that have a speed of their own, as tags. */
export const languages: readonly string[] = Object.keys(LANGUAGES);

/** The pace in characters. RangeError for a language without a speed; only a tag's first part counts. */
export function paceOf(spec: PaceSpec): Pace {
  const asked = typeof spec === "string" ? { kind: spec } : spec;
  if (asked.kind === "machine" || asked.kind === "off") return { ttftS: 1, rate: Infinity, paced: false };
  const ttftS = ("ttft" in asked ? asked.ttft : undefined) ?? 1;
  if ("rate" in asked) return { ttftS, rate: asked.rate * charactersPerToken("en"), paced: true };
  const { language = "en", words_per_minute: words = undefined } = asked as {
    language?: string;
    words_per_minute?: number;
  };
  const [silent, perWord] = row(language);
  const scale = asked.kind === "listening" ? LISTENING : 1;
  const tokens = words === undefined ? silent * scale : (words / 60) * perWord;
  return { ttftS, rate: tokens * charactersPerToken(language), paced: true };
}

/** The words a minute of a language at its usual speed. RangeError as above. */
export function usualWordsPerMinute(language: string, kind: "reading" | "listening" = "reading"): number {
  const [silent, perWord] = row(language);
  return ((silent * 60) / perWord) * (kind === "listening" ? LISTENING : 1);
}

function charactersPerToken(language: string): number {
  const [, , characters, tokens] = row(language);
  return characters / tokens;
}

function row(language: string): readonly [number, number, number, number] {
  const found = LANGUAGES[language.toLowerCase().split(/[-_]/)[0] as string];
  if (!found) throw new RangeError(`no reading speed is known for "${language}"`);
  return found;
}
