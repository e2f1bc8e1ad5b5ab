/** How long a lost answer is asked for again. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { AndanteStream, backoff, type StreamItem } from "../src/stream.ts";
import { VirtualTimers } from "./virtual.ts";

const BEGINNING = 'id: 1\ndata: {"choices":[{"delta":{"content":"The river"}}]}\n\n';

test("the wait doubles up to a bound, half of it by chance", () => {
  assert.deepEqual(
    [1, 2, 3, 9].map((attempt) => backoff(attempt, () => 1)),
    [500, 1000, 2000, 15_000],
  );
  assert.equal(
    backoff(2, () => 0),
    500,
  );
});

/** A network that takes the first connection, breaks it behind an event, and is away from then on. */
function awayAfter(head: Record<string, string>, away: (signal: AbortSignal) => Promise<Response>) {
  const tries: number[] = [];
  const timers = new VirtualTimers();
  const ask: typeof fetch = async (_, init) => {
    tries.push(timers.now());
    if (tries.length > 1) return away(init?.signal as AbortSignal);
    return new Response(BEGINNING, { headers: { "x-stream-id": "s-1", ...head } });
  };
  return { tries, timers, ask };
}

/** The longest waits, so that the tries are known. */
async function all(ask: typeof fetch, timers: VirtualTimers): Promise<StreamItem[]> {
  const items: StreamItem[] = [];
  const call = { url: "", body: { model: "m", messages: [] }, fetch: ask, timers, random: () => 1 };
  for await (const item of new AndanteStream(call)) items.push(item);
  return items;
}

test("a lost answer is tried for as long as the gateway keeps it, then that is said", async () => {
  for (const [head, seconds] of [
    [{ "x-stream-window": "90" }, 90],
    [{}, 60],
  ] as const) {
    const gone = async () => Promise.reject(new TypeError("Failed to fetch"));
    const { tries, timers, ask } = awayAfter(head, gone);
    const reading = all(ask, timers);
    await timers.advance(seconds * 1000 - 1);
    assert.ok(tries.length > 12, `${tries.length} tries`);
    assert.ok(timers.next !== null && timers.next <= seconds * 1000);
    await timers.advance(1);
    const last = (await reading).at(-1);
    assert.ok(last?.type === "error" && last.failure.code === "too_late");
    assert.equal(last.failure.message.includes(`After ${seconds} s`), true);
    assert.equal(tries.at(-1), seconds * 1000);
  }
});

test("a network that swallows everything costs ten seconds a try", async () => {
  const swallowed = (signal: AbortSignal) =>
    new Promise<Response>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  const { tries, timers, ask } = awayAfter({}, swallowed);
  const reading = all(ask, timers);
  await timers.advance(75_000);
  assert.ok(tries.length >= 5, `${tries.length} tries`);
  const last = (await reading).at(-1);
  assert.ok(last?.type === "error" && last.failure.code === "too_late");
});

test("whoever was back for a moment has the whole time again", async () => {
  const network = { whole: false };
  const { tries, timers, ask } = awayAfter({}, async () => {
    if (!network.whole) throw new TypeError("Failed to fetch");
    network.whole = false;
    return new Response(": keep-alive\n\n");
  });
  const reading = all(ask, timers);
  await timers.advance(40_000);
  network.whole = true;
  await timers.advance(60_000);
  const before = tries.length;
  assert.ok(before > 20, `${before} tries`);
  await timers.advance(10_000);
  assert.equal((await reading).at(-1)?.type, "error");
});
