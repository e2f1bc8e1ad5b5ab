import assert from "node:assert/strict";
import { test } from "node:test";
import { type PaceSpec, paceOf, usualWordsPerMinute } from "../src/pace.ts";
import { finishedQoe, leadOf, runningQoe, shownFrom } from "../src/qoe.ts";
import { type Case, TOLERANCE, vectors } from "./vectors.ts";

interface QoeCase extends Case {
  readonly finished: { at_s: number; qoe: number };
  readonly left: { at_s: number; qoe: number }[];
}

interface PacingCase extends Case {
  readonly shown_from_s: number[];
  readonly lead: { at_s: number; lead_s: number }[];
}

function expected({ pace }: Case) {
  return { ttftS: pace.ttft_s, rate: pace.rate, startUnits: pace.start_units, paced: pace.paced };
}

function close(actual: number | undefined, wanted: number, message: string): void {
  assert.ok(Math.abs((actual ?? NaN) - wanted) <= TOLERANCE, `${message}: ${actual} is not ${wanted}`);
}

test("the shared vectors: QoE", () => {
  const cases = vectors<QoeCase>("qoe.json");
  assert.ok(cases.length > 40);
  for (const each of cases) {
    const { deliveries, finished, left, away, name } = each;
    close(finishedQoe(expected(each), deliveries, finished.at_s, away), finished.qoe, name);
    for (const { at_s, qoe } of left)
      close(runningQoe(expected(each), deliveries, at_s, away), qoe, `${name} at ${at_s}`);
  }
});

test("the shared vectors: when it is shown, and the lead", () => {
  for (const each of vectors<PacingCase>("pacing.json")) {
    const shown = shownFrom(expected(each), each.deliveries, each.away);
    assert.equal(shown.length, each.shown_from_s.length);
    for (const [index, from] of each.shown_from_s.entries()) close(shown[index], from, each.name);
    for (const { at_s, lead_s } of each.lead) {
      close(leadOf(expected(each), each.deliveries, at_s, each.away), lead_s, `${each.name} at ${at_s}`);
    }
  }
});

test("the shared vectors: paces in characters", () => {
  for (const { spec, ttft_s, rate } of vectors<{ spec: PaceSpec; ttft_s: number; rate: number | null }>("paces.json")) {
    const pace = paceOf(spec);
    assert.equal(pace.ttftS, ttft_s);
    if (rate === null) assert.deepEqual([pace.rate, pace.paced], [Infinity, false]);
    else close(pace.rate, rate, JSON.stringify(spec));
  }
});

test("English is read silently at 238 words a minute; an unknown language has no speed", () => {
  assert.equal(Math.round(usualWordsPerMinute("en")), 239); // 4.46 tokens a second, rounded in the table
  assert.equal(Math.round(usualWordsPerMinute("en", "listening")), 156);
  assert.throws(() => paceOf({ kind: "reading", language: "xx" }), RangeError);
});
