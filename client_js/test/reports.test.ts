import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { ReaderReports } from "../src/reports.ts";
import { VirtualTimers } from "./virtual.ts";

let timers: VirtualTimers;
let sent: { at: number; url: string; init: RequestInit; body: Record<string, unknown> }[];
let roundTrip: number;
let status: number;

const ask: typeof fetch = (url, init = {}) => {
  sent.push({ at: timers.now(), url: String(url), init, body: JSON.parse(String(init.body)) });
  return new Promise((resolve) => timers.after(roundTrip, () => resolve(new Response(null, { status }))));
};

beforeEach(() => {
  timers = new VirtualTimers();
  sent = [];
  roundTrip = 40;
  status = 204;
});

function reports(): ReaderReports {
  return new ReaderReports({ url: "http://gateway", key: "sk-test", fetch: ask, timers }, "s 1");
}

test("many changes make one report a second, the first at once, the last one told", async () => {
  const reader = reports();
  for (let at = 0; at < 4000; at += 50) {
    reader.update({ shown: at });
    await timers.advance(50);
  }
  await timers.advance(2000);
  const times = sent.map(({ at }) => at);
  assert.ok(times.length >= 4 && times.length <= 5, `${times}`);
  assert.ok(times.slice(1).every((time, index) => time - (times[index] as number) >= 1000));
  assert.equal(sent.at(-1)?.body.shown, 3950);
  assert.equal(sent[0]?.url, "http://gateway/v1/streams/s%201/reader");
  assert.deepEqual(sent[0]?.init.headers, { authorization: "Bearer sk-test", "content-type": "application/json" });
  assert.equal(sent.at(-1)?.body.rtt_ms, 40);
});

test("nothing new is not told again", async () => {
  const reader = reports();
  roundTrip = 0;
  reader.update({ shown: 5 });
  await timers.advance(1500);
  reader.update({ shown: 5 });
  await timers.advance(1500);
  const before = sent.length;
  reader.update({ shown: 5 });
  await timers.advance(5000);
  assert.equal(sent.length, before);
});

test("a page that goes away tells it at once, in a request that outlives it", async () => {
  const reader = reports();
  reader.update({ shown: 1 });
  await timers.advance(100);
  reader.update({ shown: 2 });
  reader.hide();
  assert.equal(sent.length, 2);
  assert.equal(sent[1]?.init.keepalive, true);
  assert.deepEqual([sent[1]?.body.shown, sent[1]?.body.visible], [2, false]);
  await timers.advance(5000);
  assert.equal(sent.length, 2);
});

test("a slow network is told less often", async () => {
  const reader = reports();
  roundTrip = 900;
  for (let at = 0; at < 20_000; at += 100) {
    reader.update({ shown: at });
    await timers.advance(100);
  }
  assert.ok(sent.length <= 7, `${sent.length}`);
});

test("a stream that is gone, or over, gets no more reports", async () => {
  const reader = reports();
  status = 404;
  reader.update({ shown: 1 });
  await timers.advance(1000);
  reader.update({ shown: 2 });
  await timers.advance(5000);
  assert.equal(sent.length, 1);

  const other = reports();
  other.update({ shown: 1 });
  other.close();
  await timers.advance(5000);
  assert.equal(sent.length, 1);
});

test("a report that does not arrive breaks nothing and is made up for", async () => {
  let fail = true;
  const flaky: typeof fetch = (url, init) => (fail ? Promise.reject(new TypeError("no network")) : ask(url, init));
  const reader = new ReaderReports({ url: "", fetch: flaky, timers }, "s");
  reader.update({ shown: 1 });
  await timers.advance(1500);
  fail = false;
  reader.update({ shown: 1 });
  await timers.advance(1500);
  assert.equal(sent.at(-1)?.body.shown, 1);
});
