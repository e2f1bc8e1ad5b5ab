import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type SseEvent, SseParser, SseTooLarge } from "../src/sse.ts";

const encoder = new TextEncoder();

function parse(pieces: Uint8Array[], parser = new SseParser()): SseEvent[] {
  return pieces.flatMap((piece) => parser.feed(piece));
}

const SAMPLE = [
  "\ufeffid: 1\ndata: one\n\n",
  ": a comment\r\nid: 2\r\nevent: andante\r\ndata: {\r\ndata:}\r\n\r\n",
  "data: Zoë 👩‍👩‍👧 日本\r\r",
  "retry: 1500\nfoo: bar\nno-colon\ndata\n\n",
  "event: empty\n\n",
  ": keep-alive\nid: 7\ndata:  two spaces\n\n",
  "data: never finished\n",
].join("");

const EVENTS: SseEvent[] = [
  { event: "message", data: "one", id: "1" },
  { event: "andante", data: "{\n}", id: "2" },
  { event: "message", data: "Zoë 👩‍👩‍👧 日本", id: null },
  { event: "message", data: "", id: null },
  { event: "message", data: " two spaces", id: "7" },
];

test("reads every kind of line, and drops an event that never ends", () => {
  const parser = new SseParser();
  assert.deepEqual(parse([encoder.encode(SAMPLE)], parser), EVENTS);
  assert.equal(parser.retryMs, 1500);
  assert.equal(parser.lastEventId, "7");
});

test("gives the same wherever the bytes are cut in two", () => {
  const bytes = encoder.encode(SAMPLE);
  for (let at = 0; at <= bytes.length; at += 1) {
    assert.deepEqual(parse([bytes.subarray(0, at), bytes.subarray(at)]), EVENTS, `cut at ${at}`);
  }
});

test("gives the same byte by byte", () => {
  assert.deepEqual(parse(Array.from(encoder.encode(SAMPLE), (byte) => Uint8Array.of(byte))), EVENTS);
});

test("gives the same for any cuts of any events", () => {
  const line = fc.string({ unit: "grapheme" }).map((text) => text.replace(/[\r\n\0\ufeff]/g, "x"));
  const block = fc.record({
    data: fc.array(line, { minLength: 1, maxLength: 3 }),
    event: fc.option(line.filter(Boolean)),
    id: fc.option(fc.nat().map(String)),
    end: fc.constantFrom("\n", "\r\n", "\r"),
  });
  fc.assert(
    fc.property(fc.array(block), fc.array(fc.nat({ max: 400 })), (blocks, cuts) => {
      const text = blocks
        .map(({ data, event, id, end }) => {
          const lines = [...data.map((each) => `data: ${each}`), ...(event ? [`event: ${event}`] : [])];
          return [...(id ? [`id: ${id}`] : []), ...lines, "", ""].join(end);
        })
        .join("");
      const bytes = encoder.encode(text);
      const at = [0, ...cuts.map((each) => Math.min(each, bytes.length)), bytes.length].sort((a, b) => a - b);
      const pieces = at.slice(1).map((end, index) => bytes.subarray(at[index], end));
      const expected = blocks.map(({ data, event, id }) => ({ data: data.join("\n"), event: event ?? "message", id }));
      assert.deepEqual(parse(pieces), expected);
    }),
  );
});

test("an id that holds NUL is no id", () => {
  assert.deepEqual(parse([encoder.encode("id: a\0b\ndata: x\n\n")]), [{ event: "message", data: "x", id: null }]);
});

test("refuses an event over its bound, whether it is one line or many, whole or in pieces", () => {
  const long = encoder.encode(`data: ${"x".repeat(200)}\n`);
  assert.throws(() => parse([long], new SseParser(100)), SseTooLarge);
  assert.throws(
    () => parse(Array<Uint8Array>(20).fill(encoder.encode("data: 12345\n")), new SseParser(100)),
    SseTooLarge,
  );
  assert.throws(() => parse(Array<Uint8Array>(200).fill(encoder.encode("x")), new SseParser(100)), SseTooLarge);
});

test("takes any number of events under its bound, and a line in pieces counts once", () => {
  const parser = new SseParser(100);
  const bytes = encoder.encode(`data: ${"x".repeat(80)}\n\n`);
  for (let turn = 0; turn < 10; turn += 1) {
    assert.equal(parse([bytes.subarray(0, 50), bytes.subarray(50)], parser).length, 1);
  }
});
