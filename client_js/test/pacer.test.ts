import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { codePoints } from "../src/graphemes.ts";
import { OPEN_CLUSTER_MS, Pacer } from "../src/pacer.ts";
import { readerTime } from "../src/qoe.ts";
import { type Case, vectors } from "./vectors.ts";

const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });

function* clusterEnds(text: string): Generator<number> {
  for (const { index, segment } of segmenter.segment(text)) yield index + segment.length;
}

/** Take whenever the pacer asks to be asked, up to a time: `[at, text]`. */
function drain(pacer: Pacer, from: number, until: number): [number, string][] {
  const seen: [number, string][] = [];
  let now = from;
  for (;;) {
    const { text, wakeAt } = pacer.take(now);
    if (text) seen.push([now, text]);
    if (wakeAt === null || wakeAt > until) return seen;
    assert.ok(wakeAt > now || text, "time goes on, or text comes");
    now = wakeAt;
  }
}

test("starts at once and gives a character each 1/rate", () => {
  const pacer = new Pacer({ rate: 10 });
  pacer.push("abc", 1000);
  assert.deepEqual(drain(pacer, 1000, 9000), [
    [1000, "a"],
    [1100, "b"],
    [1200, "c"],
  ]);
});

test("a late look gets all that is due, and no more", () => {
  const pacer = new Pacer({ rate: 10 });
  pacer.push("abcdefghij", 0);
  assert.deepEqual(pacer.take(450), { text: "abcde", wakeAt: 500 });
});

test("text that comes after a gap is not hurried to make up for it", () => {
  const pacer = new Pacer({ rate: 10 });
  pacer.push("ab", 0);
  pacer.push("cdef", 5000); // nobody looked in between: ab is due, and c from now on
  assert.deepEqual(drain(pacer, 5000, 5100), [
    [5000, "abc"],
    [5100, "d"],
  ]);
});

test("after the end it is twice as fast, or as fast as it was told", () => {
  for (const [afterEnd, step] of [
    [2, 50],
    [4, 25],
    [1, 100],
  ] as const) {
    const pacer = new Pacer({ rate: 10, afterEnd });
    pacer.push("abc", 0);
    pacer.take(0);
    pacer.end(0);
    assert.deepEqual(drain(pacer, 0, 999), [
      [step, "b"],
      [2 * step, "c"],
    ]);
    assert.ok(pacer.finished);
  }
});

test("a new pace counts from now, for the next character too", () => {
  const pacer = new Pacer({ rate: 1 });
  pacer.push("abcdef", 0);
  assert.equal(pacer.take(0).text, "a");
  pacer.setRate(10, 500); // half of the second that b had to wait is over
  assert.deepEqual(pacer.take(500), { text: "", wakeAt: 550 });
});

test("skip shows the rest, and what comes, until a pace is set", () => {
  const pacer = new Pacer({ rate: 1 });
  pacer.push("abc", 0);
  pacer.skip(10);
  assert.equal(pacer.take(10).text, "abc");
  pacer.push("def", 20);
  assert.equal(pacer.take(20).text, "def");
  pacer.setRate(10, 30);
  pacer.push("gh", 40);
  assert.deepEqual(drain(pacer, 40, 999), [
    [40, "g"],
    [140, "h"],
  ]);
});

test("pause stops the clock; what comes meanwhile is not lost", () => {
  const pacer = new Pacer({ rate: 10 });
  pacer.push("abc", 0);
  pacer.take(0);
  pacer.pause(50);
  pacer.push("def", 3000);
  assert.deepEqual(pacer.take(4000), { text: "", wakeAt: null });
  assert.equal(pacer.lead(4000), 0.55);
  pacer.resume(5050);
  assert.deepEqual(pacer.take(5050), { text: "", wakeAt: 5100 });
  assert.deepEqual(
    drain(pacer, 5050, 9999)
      .map(([, text]) => text)
      .join(""),
    "bcdef",
  );
});

test("keeps clusters whole, across pushes too", () => {
  const pacer = new Pacer({ rate: 1000 });
  const family = "👩‍👩‍👧";
  for (const [at, half] of [...family].entries()) pacer.push(half, at);
  assert.equal(pacer.take(100).text, ""); // it may still grow
  pacer.push("!", 101);
  assert.equal(pacer.take(110).text, `${family}!`);
});

test("a cluster that could grow waits a quarter of a second, not for ever", () => {
  const pacer = new Pacer({ rate: 1000 });
  pacer.push("👩", 0);
  const { text, wakeAt } = pacer.take(10);
  assert.deepEqual([text, wakeAt], ["", OPEN_CLUSTER_MS]);
  assert.equal(pacer.take(OPEN_CLUSTER_MS).text, "👩");
});

test("half a surrogate waits for the other half", () => {
  const pacer = new Pacer({ rate: Infinity });
  pacer.push("a\ud83d", 0);
  assert.equal(pacer.take(0).text, "a");
  pacer.push("\ude00b", 1);
  assert.equal(pacer.take(1).text, "😀b");
  assert.equal(pacer.shown, 3);
});

interface PacingCase extends Case {
  readonly shown_from_s: number[];
  readonly lead: { at_s: number; lead_s: number }[];
}

/** The cases that text can have: whole characters, shown at once. The others are for `shownFrom` and `leadOf`. */
const cases = vectors<PacingCase>("pacing.json").filter(
  ({ pace, deliveries }) => pace.start_units === 0 && deliveries.every(([, units]) => Number.isInteger(units)),
);

/** Pushes, absences and questions in the order of their times; at one time in this order. */
function* story({ deliveries, away, lead }: PacingCase): Generator<[number, string, number]> {
  const all: [number, string, number][] = [
    ...deliveries.map(([at, units], index): [number, string, number] => [at, "push", index * 1000 + units]),
    ...away.flatMap(([left, back]): [number, string, number][] => [
      [left, "pause", 0],
      [back, "resume", 0],
    ]),
    ...lead.map(({ at_s }, index): [number, string, number] => [at_s, "~lead", index]),
  ];
  yield* all.sort(([a, kindA], [b, kindB]) => a - b || (kindA < kindB ? -1 : 1));
}

/** A pacer that goes through a case, and when each delivery's letter was first seen, in seconds. */
class Run {
  readonly pacer: Pacer;
  readonly first = new Map<string, number>();
  #now = 0;

  constructor({ pace }: Case) {
    this.pacer = new Pacer({ rate: pace.paced ? pace.rate : Infinity });
  }

  to(until: number): void {
    for (;;) {
      const { text, wakeAt } = this.pacer.take(this.#now * 1000);
      for (const char of text) if (!this.first.has(char)) this.first.set(char, this.#now);
      if (wakeAt === null || wakeAt / 1000 >= until) break;
      this.#now = wakeAt / 1000;
    }
    this.#now = until;
  }
}

function letter(index: number): string {
  return String.fromCharCode(0x4e00 + index);
}

test("the shared vectors: when text is shown, and how far it is ahead", () => {
  assert.ok(cases.length > 40);
  for (const each of cases) {
    const run = new Run(each);
    const { pacer } = run;
    for (const [at, what, value] of story(each)) {
      run.to(at);
      const now = at * 1000;
      if (what === "push") pacer.push(letter(Math.floor(value / 1000)).repeat(value % 1000), now);
      else if (what === "pause") pacer.pause(now);
      else if (what === "resume") pacer.resume(now);
      else close(pacer.lead(now), each.lead[value]?.lead_s, `${each.name}: lead at ${at}`);
    }
    run.to(1e4);
    for (const [index, from] of each.shown_from_s.entries()) {
      close(readerTime(run.first.get(letter(index)) ?? NaN, each.away), from, `${each.name} ${index}`);
    }
  }
});

function close(actual: number | undefined, expected: number | undefined, message: string): void {
  assert.ok(Math.abs((actual ?? NaN) - (expected ?? NaN)) <= 1e-8, `${message}: ${actual} is not ${expected}`);
}

const word = fc.constantFrom("a", "ß ", "the river", "日本語", "🇩🇪", "👩‍👩‍👧", "é", "नमस्ते", "\n", "x".repeat(40), "1");
const step = fc.oneof(
  fc.record({ push: word }),
  fc.record({ wait: fc.integer({ min: 1, max: 900 }) }),
  fc.record({ look: fc.constant(true) }),
);

test("never faster than the pace, never later than due, never a cluster in two, nothing lost", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.constantFrom(3, 17, 80), (steps, rate) => {
      const pacer = new Pacer({ rate });
      let now = 0;
      let pushed = "";
      let shown = "";
      const due: number[] = []; // when each code point is due, by the recurrence
      const look = () => {
        const before = codePoints(shown);
        shown += pacer.take(now).text;
        const after = codePoints(shown);
        for (let at = before; at < after; at += 1) assert.ok((due[at] as number) <= now + 0.01, "not before it is due");
        const ends = [0, ...clusterEnds(pushed)];
        assert.ok(ends.includes(shown.length), "whole clusters");
        const overdue = ends.filter(
          (end) => end < pushed.length && (due[codePoints(pushed.slice(0, end)) - 1] ?? 0) < now - 0.01,
        );
        assert.ok(shown.length >= Math.max(0, ...overdue), "nothing due is held back");
      };
      for (const each of steps) {
        if ("wait" in each) now += each.wait;
        else if ("look" in each) look();
        else {
          for (const _ of each.push) due.push(Math.max(now, (due.at(-1) ?? -Infinity) + 1000 / rate));
          pushed += each.push;
          pacer.push(each.push, now);
        }
      }
      pacer.end(now);
      shown += drain(pacer, now, Infinity)
        .map(([, text]) => text)
        .join("");
      assert.equal(shown, pushed);
      assert.equal(pacer.buffered, 0);
    }),
    { numRuns: 300 },
  );
});

test("bursts with 300 ms of jitter are smoothed to a tenth of their spread, and less", () => {
  let seed = 7;
  const random = () => {
    seed = (seed * 48271) % 2147483647;
    return seed / 2147483647;
  };
  const rate = 20;
  const pacer = new Pacer({ rate });
  const arrivals: number[] = [];
  const shown: number[] = [];
  const look = (from: number, until: number) => {
    for (const [at, text] of drain(pacer, from, until)) for (const _ of text) shown.push(at);
  };
  let before = 0;
  for (let burst = 0; burst < 200; burst += 1) {
    const at = Math.max(before, burst * 250 + random() * 600 - 300);
    look(before, at - 1e-6);
    pacer.push("eight ch", at);
    for (let each = 0; each < 8; each += 1) arrivals.push(at);
    before = at;
  }
  look(before, 60_000);
  const ratio = spread(shown.slice(40)) / spread(arrivals);
  assert.ok(ratio <= 0.1, `${ratio}`);
});

function spread(times: number[]): number {
  const gaps = times.slice(1).map((time, index) => time - (times[index] as number));
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  return Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length);
}

test("a long answer costs what it shows, not what is buffered", () => {
  const pacer = new Pacer({ rate: 100 });
  pacer.push("wörter ".repeat(200_000), 0);
  const began = performance.now();
  for (let frame = 0; frame < 2000; frame += 1) pacer.take(frame * 16);
  assert.ok(performance.now() - began < 1000);
});
