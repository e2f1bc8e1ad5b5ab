import assert from "node:assert/strict";
import { test } from "node:test";
import { Jitter, ReaderSpeed } from "../src/adapt.ts";

test("an even stream has no jitter; an uneven one has its mean deviation", () => {
  const even = new Jitter();
  const uneven = new Jitter();
  for (let count = 0, at = 0; count < 400; count += 1) {
    even.delivered(count * 250);
    at += count % 2 ? 100 : 400;
    uneven.delivered(at);
  }
  assert.ok(even.ms < 1e-6);
  assert.ok(Math.abs(uneven.ms - 150) < 20, `${uneven.ms}`);
  assert.equal(uneven.leadS, (4 * uneven.ms) / 1000);
});

test("the lead covers nearly all gaps of a jittery stream", () => {
  let seed = 3;
  const random = () => {
    seed = (seed * 48271) % 2147483647;
    return seed / 2147483647;
  };
  const jitter = new Jitter();
  const gaps = Array.from({ length: 2000 }, () => 250 + (random() - 0.5) * 600);
  let at = 0;
  let covered = 0;
  for (const gap of gaps) {
    at += Math.max(0, gap);
    jitter.delivered(at);
    if (gap <= 250 + jitter.leadS * 1000) covered += 1;
  }
  assert.ok(covered / gaps.length > 0.95);
});

test("an absence is no jitter", () => {
  const jitter = new Jitter();
  for (let at = 0; at < 5000; at += 250) jitter.delivered(at);
  jitter.restart();
  jitter.delivered(60_000);
  assert.ok(jitter.ms < 1e-6);
});

test("the reader's speed starts from the setting and goes towards what they do", () => {
  const speed = new ReaderSpeed(20);
  assert.equal(speed.rate, 20);
  for (let at = 0; at <= 600_000; at += 5000) speed.reached((at / 1000) * 30, at);
  assert.ok(speed.rate > 28 && speed.rate < 30, `${speed.rate}`);
});

test("skimming, going back and silences are no reading", () => {
  const speed = new ReaderSpeed(20);
  for (let at = 0; at <= 600_000; at += 1000) speed.reached(at, at);
  assert.equal(speed.rate, 40);

  const calm = new ReaderSpeed(20);
  calm.reached(0, 0);
  calm.reached(100, 600_000); // ten minutes away
  calm.reached(0, 600_001); // back to the top
  calm.paused();
  calm.reached(5000, 600_002);
  assert.equal(calm.rate, 20);
});
