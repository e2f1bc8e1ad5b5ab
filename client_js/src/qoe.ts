/**
 * Quality of experience of an answer, as the gateway's `core/qoe.py` defines it; the shared vectors hold both to the
 * same numbers. Times are seconds since the request, amounts are in the pace's unit.
 */

/** The first unit is due after `ttftS`, then `rate` a second; showing begins once `startUnits` are there (0: at once). */
export interface Expected {
  readonly ttftS: number;
  readonly rate: number;
  readonly startUnits?: number;
  readonly paced?: boolean;
}

/** `[at, units, quality]`: the quality (1 is best) scales the result by its mean over the units. */
export type Delivery = readonly [at: number, units: number, quality?: number];

/** `[left, back]`: when the reader was away, ascending and apart; the reader's clock stood still. */
export type Away = readonly (readonly [left: number, back: number])[];

const INSTANT_S = 1e-9; // too little due to divide by

/** Seconds since the request on the reader's clock. */
export function readerTime(at: number, away: Away = []): number {
  return away.reduce((time, [left, back]) => (left < at ? time - (Math.min(back, at) - left) : time), at);
}

/** QoE of an answer that came whole, in [0, 1]; `endedAt` matters only for an empty one. */
export function finishedQoe(pace: Expected, deliveries: readonly Delivery[], endedAt: number, away: Away = []): number {
  const arrived = onReadersClock(deliveries, away);
  if (!arrived.some(([, units]) => units)) return readerTime(endedAt, away) - pace.ttftS <= INSTANT_S ? 1 : 0;
  let delay = 0;
  let before = 0;
  let end = 0;
  for (const [begin, units] of chain(pace, arrived, pace.ttftS, true)) {
    delay += units * (begin - (pace.ttftS + before / pace.rate));
    before += units;
    end = begin + units / pace.rate;
  }
  const whole = before * (end - pace.ttftS) - before ** 2 / (2 * pace.rate);
  return quality(arrived) * Math.min(1, Math.max(0, 1 - delay / whole));
}

/** QoE if the reader left at `at`; also that of an answer which is still running then. */
export function runningQoe(pace: Expected, deliveries: readonly Delivery[], at: number, away: Away = []): number {
  const horizon = readerTime(at, away);
  if (horizon - pace.ttftS <= INSTANT_S) return 1;
  const arrived = onReadersClock(
    deliveries.filter(([when]) => when <= at),
    away,
  );
  let area = 0;
  for (const [begin, units] of chain(pace, arrived, pace.ttftS, false)) {
    const reading = Math.min(Math.max(0, horizon - begin), units / pace.rate);
    area += (pace.rate * reading ** 2) / 2 + units * Math.max(0, horizon - begin - units / pace.rate);
  }
  return Math.min(1, area / ((pace.rate * (horizon - pace.ttftS) ** 2) / 2)) * quality(arrived);
}

/** When each delivery of a whole answer begins to be shown, on the reader's clock. */
export function shownFrom(pace: Expected, deliveries: readonly Delivery[], away: Away = []): number[] {
  const arrived = onReadersClock(deliveries, away);
  if (pace.paced === false) return arrived.map(([at]) => at);
  return chain(pace, arrived, 0, true).map(([begin]) => begin);
}

/** Delivered and unshown at `at`, in seconds of reading. */
export function leadOf(pace: Expected, deliveries: readonly Delivery[], at: number, away: Away = []): number {
  const arrived = onReadersClock(
    deliveries.filter(([when]) => when <= at),
    away,
  );
  if (pace.paced === false || !arrived.length) return 0;
  const units = arrived.reduce((sum, [, each]) => sum + each, 0);
  if (units < (pace.startUnits ?? 0)) return units / pace.rate;
  const [begin, last] = chain(pace, arrived, 0, true).at(-1) ?? [0, 0];
  return Math.max(0, begin + last / pace.rate - readerTime(at, away));
}

function onReadersClock(deliveries: readonly Delivery[], away: Away): Delivery[] {
  return deliveries.map(([at, units, value]) => [readerTime(at, away), units, value ?? 1]);
}

/** `[begin, units]` of each delivery: read one after the other, none before it came nor before `earliest`. */
function chain(pace: Expected, arrived: readonly Delivery[], earliest: number, complete: boolean): [number, number][] {
  let gathered = 0;
  const enough = arrived.find(([, units]) => {
    gathered += units;
    return gathered >= (pace.startUnits ?? 0);
  });
  const opened = (enough ?? (complete ? arrived.at(-1) : undefined))?.[0];
  if (opened === undefined) return [];
  let free = Math.max(earliest, opened);
  return arrived.map(([at, units]) => {
    const begin = Math.max(at, free);
    free = begin + units / pace.rate;
    return [begin, units];
  });
}

function quality(arrived: readonly Delivery[]): number {
  const units = arrived.reduce((sum, [, each]) => sum + each, 0);
  return units ? arrived.reduce((sum, [, each, value = 1]) => sum + each * value, 0) / units : 1;
}
