import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { AndanteStream, type StreamItem, type StreamOptions } from "../src/stream.ts";
import { answerOf, StreamServer } from "./server.ts";
import { settled, VirtualTimers } from "./virtual.ts";

const TEXTS = ["The ", "Zoë 👩‍👩‍👧 ", "river ", "runs ", "日本 ", "on."];
const TEXT = TEXTS.join("");

let server: StreamServer;
let url: string;

beforeEach(async () => {
  server = new StreamServer();
  server.log = answerOf(TEXTS);
  url = await server.start();
});

afterEach(() => server.close());

/** Timers whose waits between tries are over at once; silence never comes. */
function hasty(waits: number[] = []) {
  return {
    now: () => performance.now(),
    after(ms: number, call: () => void) {
      if (ms >= 10_000) return () => {};
      waits.push(ms);
      const id = setImmediate(call);
      return () => clearImmediate(id);
    },
  };
}

function open(options: Partial<StreamOptions> = {}): AndanteStream {
  return new AndanteStream({ url, key: "sk-test", body: { model: "m", messages: [] }, timers: hasty(), ...options });
}

async function all(stream: AndanteStream): Promise<StreamItem[]> {
  const items: StreamItem[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

function textOf(items: StreamItem[]): string {
  return items.map((item) => (item.type === "delta" ? item.text : "")).join("");
}

test("an answer: opened, its text, its states, its end", async () => {
  const items = await all(open());
  assert.deepEqual(items[0], { type: "open", id: "s-1", resume: "token", requestId: "r-1" });
  assert.equal(textOf(items), TEXT);
  assert.equal(items.filter(({ type }) => type === "state").length, 1);
  assert.deepEqual(items.at(-1), { type: "done", finishReason: "stop" });
  const [request] = server.seen;
  assert.equal(request?.headers.authorization, "Bearer sk-test");
  assert.equal(request?.headers["x-stream-resumable"], "1");
  assert.deepEqual(JSON.parse(request?.body ?? ""), { model: "m", messages: [], stream: true });
});

test("broken at any byte, nothing is lost and nothing comes twice", async () => {
  const whole = Buffer.byteLength(bodyOf());
  for (let cut = 0; cut <= whole; cut += 1) {
    server.cuts = [cut];
    server.seen.length = 0;
    const items = await all(open());
    assert.equal(textOf(items), TEXT, `cut at ${cut}`);
    assert.equal(items.filter(({ type }) => type === "state").length, 1, `cut at ${cut}`);
    assert.equal(items.at(-1)?.type, "done");
    if (server.seen.length > 1) assert.equal(server.seen[1]?.path, "/v1/streams/s-1");
  }
});

function bodyOf(): string {
  const text = ({ event, data }: { event?: string; data: unknown }, id: number) =>
    `id: ${id + 1}\n${event ? `event: ${event}\n` : ""}data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;
  return server.log.map(text).join("");
}

test("broken again and again, it goes on as long as something comes", async () => {
  server.cuts = Array(9).fill(bodyOf().indexOf("id: 2"));
  server.cuts = server.cuts.map((_, index) => Buffer.byteLength(bodyOf().split("\n\n")[index] ?? "") + 4);
  const items = await all(open({ attempts: 1 }));
  assert.equal(textOf(items), TEXT);
  assert.ok(items.filter(({ type }) => type === "retry").length >= 5);
});

test("an event that is sent once more is dropped", async () => {
  server.instead = [
    (_, response) => {
      response.writeHead(200, { "x-stream-id": "s-1" });
      const event = (id: number, content: string) =>
        `id: ${id}\ndata: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`;
      response.end(`${event(1, "a")}${event(2, "b")}${event(2, "b")}${event(1, "a")}data: [DONE]\n\n`);
    },
  ];
  assert.equal(textOf(await all(open())), "ab");
});

test("a page that comes back asks behind what it has", async () => {
  const items = await all(new AndanteStream({ url, id: "s-1", lastEventId: "4", timers: hasty() }));
  assert.equal(textOf(items), TEXTS.slice(2).join(""));
  assert.equal(server.seen[0]?.method, "GET");
  assert.equal(server.seen[0]?.headers["last-event-id"], "4");
});

test("a plain stream that breaks is an error, not a second answer", async () => {
  server.resumable = false;
  server.cuts = [150];
  const last = (await all(open())).at(-1);
  assert.equal(last?.type === "error" && last.failure.retryable, false);
  assert.equal(server.seen.length, 1);
});

function refuse(status: number, headers: Record<string, string> = {}, code = "queue_full") {
  return (_: unknown, response: import("node:http").ServerResponse) => {
    response.writeHead(status, { "x-request-id": "r-9", ...headers });
    response.end(JSON.stringify({ error: { message: "Not now.", type: "overloaded_error", param: null, code } }));
  };
}

test("waits as long as the gateway says, then tries again", async () => {
  const waits: number[] = [];
  server.instead = [refuse(503, { "retry-after": "3" }), refuse(429, { "retry-after": "9", "retry-after-ms": "120" })];
  const items = await all(open({ timers: hasty(waits) }));
  assert.equal(textOf(items), TEXT);
  assert.deepEqual(waits, [3000, 120]);
  assert.deepEqual(
    items.flatMap((item) => (item.type === "retry" ? [item.failure.code, item.attempt] : [])),
    ["queue_full", 1, "queue_full", 2],
  );
});

test("a refusal that will not pass is given at once, as a value", async () => {
  const refusals = [
    refuse(401, {}, "invalid_api_key"),
    refuse(429, { "x-should-retry": "false" }, "rate_limit_exceeded"),
  ];
  for (const [each, code] of [
    [refusals[0], "invalid_api_key"],
    [refusals[1], "rate_limit_exceeded"],
  ] as const) {
    server.instead = [each ?? null];
    const items = await all(open());
    assert.equal(items.length, 1);
    const [item] = items;
    assert.ok(item?.type === "error");
    assert.deepEqual([item.failure.code, item.failure.message, item.failure.requestId], [code, "Not now.", "r-9"]);
  }
});

test("gives up after so many tries, and says why", async () => {
  server.instead = Array(5).fill(refuse(503));
  const items = await all(open({ attempts: 2 }));
  assert.deepEqual(
    items.map(({ type }) => type),
    ["retry", "retry", "error"],
  );
  assert.equal(server.seen.length, 3);
});

test("a stream that is gone is an error", async () => {
  server.cuts = [200];
  server.instead = [null, refuse(410, {}, "stream_gone")];
  const last = (await all(open())).at(-1);
  assert.ok(last?.type === "error");
  assert.deepEqual([last.failure.code, last.failure.status], ["stream_gone", 410]);
});

test("an error event is final and carries the gateway's code", async () => {
  server.log = [...answerOf(["a"]).slice(0, 3), { data: { error: { code: "engine_failed", message: "It broke." } } }];
  const items = await all(open());
  const last = items.at(-1);
  assert.ok(last?.type === "error");
  assert.equal(last.failure.code, "engine_failed");
  assert.equal(server.seen.length, 1);
});

test("garbage is an error, and is not asked for again", async () => {
  server.log = [{ data: "{not json" }];
  const last = (await all(open())).at(-1);
  assert.ok(last?.type === "error");
  assert.equal(last.failure.code, "bad_event");
});

test("a server that is not there: tried again with growing waits, then an error", async () => {
  await server.close();
  const waits: number[] = [];
  const items = await all(open({ attempts: 3, timers: hasty(waits), random: () => 0 }));
  assert.deepEqual(waits, [250, 500, 1000]);
  const last = items.at(-1);
  assert.ok(last?.type === "error" && last.failure.code === "network");
});

test("a connection that falls silent is left, and the stream goes on", async () => {
  const timers = new VirtualTimers();
  const body = bodyOf();
  const half = body.indexOf("id: 5");
  const bodies = [body.slice(0, half), body.slice(half)];
  const ask: typeof fetch = async (_, init) => {
    const text = bodies.shift() ?? "";
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(text)); // and then neither more nor an end
        init?.signal?.addEventListener("abort", () => controller.error(init.signal?.reason));
      },
    });
    return new Response(stream, { headers: { "x-stream-id": "s-1" } });
  };
  const reading = all(open({ fetch: ask, timers, silenceMs: 20_000, random: () => 1 }));
  await timers.advance(20_000);
  await timers.advance(600);
  const items = await reading;
  assert.equal(textOf(items), TEXT);
  assert.deepEqual(
    items.flatMap((item) => (item.type === "retry" ? [item.failure.code, item.waitMs] : [])),
    ["silent", 500],
  );
});

test("leaving ends the iteration and tells nobody; stopping tells the gateway", async () => {
  for (const act of ["leave", "stop"] as const) {
    server.seen.length = 0;
    server.cuts = [];
    server.instead = [
      (_, response) => {
        response.writeHead(200, { "x-stream-id": "s-1" });
        response.write('id: 1\ndata: {"choices":[{"delta":{"content":"a"}}]}\n\n');
      },
    ];
    const stream = open();
    const items: StreamItem[] = [];
    for await (const item of stream) {
      items.push(item);
      if (item.type === "delta") void stream[act]();
    }
    await settled();
    const last = items.at(-1);
    assert.ok(last?.type === "error" && last.failure.code === "aborted", act);
    if (act === "stop") await stream.stop();
    assert.equal(
      server.seen.some(({ method, path }) => method === "DELETE" && path === "/v1/streams/s-1"),
      act === "stop",
    );
  }
});

test("a signal leaves too, also while it waits", async () => {
  const leaving = new AbortController();
  server.instead = [refuse(503, { "retry-after": "30" })];
  const timers = new VirtualTimers();
  const items: StreamItem[] = [];
  for await (const item of open({ signal: leaving.signal, timers })) {
    items.push(item);
    if (item.type === "retry") setImmediate(() => leaving.abort());
  }
  const last = items.at(-1);
  assert.ok(last?.type === "error" && last.failure.code === "aborted");
  assert.equal(server.seen.length, 1);
});
