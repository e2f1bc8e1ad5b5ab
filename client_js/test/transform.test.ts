import assert from "node:assert/strict";
import { test } from "node:test";
import { paced, pacedChunks, pacedText, paceTransform } from "../src/transform.ts";
import { settled, VirtualTimers } from "./virtual.ts";

async function* from<T>(items: T[]): AsyncGenerator<T> {
  yield* items;
}

/** Iterate on a virtual clock: `[at, item]`. */
async function collect<T>(timers: VirtualTimers, items: AsyncIterable<T>, ms = 60_000): Promise<[number, T][]> {
  const seen: [number, T][] = [];
  const reading = (async () => {
    for await (const item of items) seen.push([timers.now(), item]);
  })();
  await timers.advance(ms);
  await reading;
  return seen;
}

test("text comes at the pace, and after the source's end twice as fast", async () => {
  const timers = new VirtualTimers();
  async function* source() {
    yield "abcde";
    await new Promise<void>((resolve) => timers.after(200, resolve));
    yield "fgh";
  }
  const seen = await collect(timers, pacedText(source(), { rate: 10, timers }));
  assert.equal(seen.map(([, text]) => text).join(""), "abcdefgh");
  assert.deepEqual(seen.slice(0, 3), [
    [0, "a"],
    [100, "b"],
    [200, "c"],
  ]);
  assert.equal(seen.at(-1)?.[0], 200 + 5 * 50);
});

test("chunks of the OpenAI SDK: the same fields, the same order, the text in pieces", async () => {
  const timers = new VirtualTimers();
  const chunk = (content: string | null, more = {}) => ({
    id: "c",
    choices: [{ index: 0, delta: { content }, ...more }],
  });
  const usage = { id: "c", choices: [], usage: { total_tokens: 7 } };
  const source = [chunk(null), chunk("Hello "), chunk("there"), chunk(null, { finish_reason: "stop" }), usage];
  const seen = await collect(timers, pacedChunks<(typeof source)[number]>(from(source), { rate: 20, timers }));
  const items = seen.map(([, item]) => item);
  assert.deepEqual(items[0], source[0]);
  assert.deepEqual(items.slice(-2), source.slice(-2));
  assert.equal(items.map(({ choices }) => choices[0]?.delta.content ?? "").join(""), "Hello there");
  assert.ok(items.length > 10);
  assert.ok(items.every(({ id }) => id === "c"));
});

test("the AI SDK's transform: text parts in pieces with their id, others in their place", async () => {
  const timers = new VirtualTimers();
  const parts = [
    { type: "start" },
    { type: "text-start", id: "1" },
    { type: "text-delta", id: "1", text: "Hi you" },
    { type: "text-end", id: "1" },
    { type: "finish" },
  ];
  const stream = new ReadableStream({
    start(controller) {
      for (const part of parts) controller.enqueue(part);
      controller.close();
    },
  }).pipeThrough(paceTransform<(typeof parts)[number]>({ rate: 10, timers })());
  const seen = (await collect(timers, stream)).map(([, part]) => part);
  assert.deepEqual(
    seen.map(({ type }) => type),
    ["start", "text-start", ...Array(6).fill("text-delta"), "text-end", "finish"],
  );
  assert.ok(seen.every((part) => part.type !== "text-delta" || part.id === "1"));
  assert.equal(seen.map((part) => part.text ?? "").join(""), "Hi you");
});

test("what breaks the source is thrown after what came before it", async () => {
  const timers = new VirtualTimers();
  async function* source() {
    yield "abc";
    throw new Error("broken");
  }
  const seen: string[] = [];
  const reading = (async () => {
    for await (const text of pacedText(source(), { rate: 10, timers })) seen.push(text);
  })();
  const broken = assert.rejects(reading, /broken/);
  await timers.advance(5000);
  await broken;
  assert.equal(seen.join(""), "abc");
});

test("a source that is far ahead is not read on", async () => {
  const timers = new VirtualTimers();
  let read = 0;
  async function* source() {
    for (; read < 10_000; read += 1) yield "0123456789";
  }
  const shape = { text: (item: string) => item, withText: (_: string, text: string) => text };
  const items = paced(source(), shape, { rate: 10, timers, maxBuffered: 100 });
  await items.next();
  await settled();
  assert.ok(read <= 12, `${read}`);
  await items.return(undefined);
});

test("whoever leaves closes the source", async () => {
  const timers = new VirtualTimers();
  let closed = false;
  async function* source() {
    try {
      for (;;) yield "0123456789";
    } finally {
      closed = true;
    }
  }
  for await (const _ of pacedText(source(), { rate: 10, timers, maxBuffered: 5 })) break;
  assert.ok(closed);
});

test("a chunk that has the last text and the reason: the reason comes with its last piece", async () => {
  const timers = new VirtualTimers();
  const source = [{ choices: [{ delta: { content: "the end" }, finish_reason: "stop" }] }];
  const seen = await collect(timers, pacedChunks(from(source), { rate: 10, timers }));
  const reasons = seen.map(([, { choices }]) => choices[0]?.finish_reason);
  assert.deepEqual(reasons, [...Array(6).fill(null), "stop"]);
});

test("whoever cancels the AI SDK's stream ends a source that says nothing", async () => {
  const timers = new VirtualTimers();
  let cancelled: unknown = null;
  const source = new ReadableStream<{ type: string; text: string }>({
    start: (controller) => controller.enqueue({ type: "text-delta", text: "a" }),
    cancel: (reason) => {
      cancelled = reason;
    },
  });
  const reader = source.pipeThrough(paceTransform<{ type: string; text: string }>({ rate: 10, timers })()).getReader();
  assert.equal((await reader.read()).value?.text, "a");
  const silent = reader.read();
  await settled();
  const leaving = reader.cancel("gone");
  await settled();
  assert.equal(cancelled, "gone");
  await leaving;
  assert.equal((await silent).done, true);
});
