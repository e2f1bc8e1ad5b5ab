import assert from "node:assert/strict";
import { test } from "node:test";
import { counts, type Frame, percent, SIGNS, type Side, smallCustomers, verdict } from "../compare/burst.ts";

const tenant = (qoe: number | null, wait_s: number | null) => ({ qoe, wait_s, tokens: 1 });
const side = (qoe: number, perfect: number, ...tenants: Side["tenants"]): Side => ({
  readers: "wrrsdpx.",
  qoe,
  perfect,
  tenants,
});

test("readers are counted by what they do, and every letter has a sign", () => {
  assert.deepEqual(counts("wrrsdpx."), { w: 1, r: 2, s: 1, d: 1, p: 1, x: 1, ".": 1 });
  for (const letter of "wrrsdpx.") assert.ok(SIGNS[letter], letter);
});

test("the large customer is not among the small ones, nor who has not come", () => {
  assert.equal(smallCustomers(side(0.5, 0, tenant(0.1, 9), tenant(0.8, 1), tenant(0.6, 1), tenant(null, null))), 0.7);
  assert.equal(smallCustomers(side(0.5, 0, tenant(0.1, 9), tenant(null, null))), null);
  assert.equal(percent(null), "–");
});

test("the outcome is told as the second side instead of the first", () => {
  const frame: Frame = {
    t: 60,
    sides: [side(0.69, 0.1, tenant(0.7, 9), tenant(0.6, 7)), side(0.85, 0.37, tenant(0.8, 5), tenant(1, 0.94))],
  };
  assert.equal(
    verdict(["First come", "Fair"], frame),
    "Fair, instead of first come: the average quality is 85 % instead of 69 %, 37 % of the readers never had to wait " +
      "instead of 10 %, " +
      "and the small customers had their first word after 0.9 s instead of 7.0 s.",
  );
});
