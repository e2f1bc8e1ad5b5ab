/** What `/admin/compare` tells: lines of JSON of one burst, as `python -m loadgen burst` writes them. Times in seconds. */

/** What is sent. `readers`: for each its customer's number, and when it comes. */
export interface Plan {
  readonly sides: readonly string[];
  readonly tenants: readonly string[];
  readonly readers: readonly (readonly [tenant: number, at: number])[];
}

export interface Tenant {
  readonly qoe: number | null;
  readonly wait_s: number | null;
  readonly tokens: number;
}

/** One side at a moment. `readers` has a letter for each: see `SIGNS`. */
export interface Side {
  readonly readers: string;
  readonly qoe: number | null;
  readonly perfect: number | null;
  readonly tenants: readonly Tenant[];
}

export interface Frame {
  readonly t: number;
  readonly sides: readonly Side[];
}

export type Line =
  | { readonly plan: Plan }
  | { readonly frame: Frame }
  | { readonly end: { readonly t: number } }
  | { readonly failed: string };

/** The letters, the sign of each on the page, and what it says. */
export const SIGNS: Readonly<Record<string, readonly [sign: string, words: string]>> = {
  ".": ["absent", "not there yet"],
  w: ["waits", "waiting for the first word"],
  r: ["reads", "reading"],
  s: ["stalled", "waiting for more"],
  d: ["done", "finished, with waiting"],
  p: ["perfect", "finished, never waited"],
  x: ["failed", "got no answer"],
};

/** How many readers are in each state. */
export function counts(readers: string): Readonly<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const letter of readers) found[letter] = (found[letter] ?? 0) + 1;
  return found;
}

/** The average quality of all customers but the first, which asks for most; null while none of them has come. */
export function smallCustomers({ tenants }: Side): number | null {
  return mean(tenants.slice(1).map(({ qoe }) => qoe));
}

/** The outcome in a sentence: what the second side made of it, instead of the first. `titles` are the sides' names. */
export function verdict(titles: readonly string[], { sides: [before, after] }: Frame): string {
  if (!before || !after) return "";
  const waited = (side: Side) => mean(side.tenants.slice(1).map(({ wait_s }) => wait_s))?.toFixed(1) ?? "–";
  return (
    `${titles[1]}, instead of ${titles[0]?.toLowerCase()}: the average quality is ${percent(after.qoe)} instead of ` +
    `${percent(before.qoe)}, ` +
    `${percent(after.perfect)} of the readers never had to wait instead of ${percent(before.perfect)}, ` +
    `and the small customers had their first word after ${waited(after)} s instead of ${waited(before)} s.`
  );
}

function mean(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

export function percent(share: number | null): string {
  return share === null ? "–" : `${Math.round(share * 100)} %`;
}
