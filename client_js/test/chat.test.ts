import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import fc from "fast-check";
import { blocks, cutParagraph, markupOf } from "../chat/markdown.ts";
import { asMarkdown, type Box, type Conversation, Store } from "../chat/store.ts";
import { inWords } from "../chat/strip.ts";
import { Timeline } from "../chat/timeline.ts";
import { paceOf } from "../src/pace.ts";
import { finishedQoe } from "../src/qoe.ts";

const root = new URL("../../", import.meta.url).pathname;

test("the page that the gateway serves is what the sources make", () => {
  const folder = mkdtempSync(`${tmpdir()}/andante-chat-`);
  try {
    execFileSync(process.execPath, [`${root}scripts/build-chat.mjs`, folder]);
    for (const name of ["chat.js", "compare.js", "licenses.txt"]) {
      const served = readFileSync(`${root}../gateway/web/${name}`, "utf8");
      assert.ok(readFileSync(`${folder}/${name}`, "utf8") === served, `npm run chat makes another ${name}`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const MARKDOWN = fc
  .array(
    fc.constantFrom(
      "# A title\n\n",
      "A paragraph of *words* and `code`.\n",
      "\n",
      "- one\n- two\n\n  more of two\n",
      "1. first\n2. second\n",
      "```js\nconst a = `b`;\n\n```\n",
      "```\nnever closed\n",
      "| a | b |\n|---|---|\n| 1 | 2 |\n",
      "> said\n> so\n",
      "<div>\nmarkup\n</div>\n\n",
      "    indented\n",
      "Setext\n===\n",
      "***\n",
      "[x]: https://example.org\n",
      "tail without an end",
      "\t- a tab\n",
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(""));

test("blocks: what is done and what is last are the text, to the letter", () => {
  fc.assert(
    fc.property(MARKDOWN, (text) => {
      const { done, last } = blocks(text);
      const joined = [...done, ...(last ? [last] : [])].map(({ raw }) => raw).join("");
      assert.ok(text.startsWith(joined));
      assert.equal(text.slice(joined.length).trim(), "");
    }),
    { numRuns: 500 },
  );
});

test("text that is nested deeper than a stack is shown as it is written", () => {
  const text = "> ".repeat(20_000);
  const { done, last } = blocks(text);
  assert.equal([...done, ...(last ? [last] : [])].map(({ raw }) => raw).join(""), text);
  assert.match(last ? markupOf(last) : "", /^<p>(&gt; ?)+<\/p>\s*$/);
});

test("a paragraph without end is cut, whatever it is made of, and loses nothing", () => {
  for (const piece of ["_a", "the ", "川は急がない。", "A river. ", "**b", "word\n", "a👍"]) {
    const cut = cutParagraph(piece.repeat(20_000));
    assert.ok(cut.split("\n\n").every((part) => part.length <= 8_010));
    assert.doesNotMatch(cut, /\p{Cs}/u); // no half of a surrogate pair
    assert.equal(cut.replace(/\s/g, ""), piece.repeat(20_000).replace(/\s/g, ""));
  }
  for (const whole of ["> said\n", "- one\n", "a | b\n--|--\n"]) {
    const text = whole.repeat(2_000);
    assert.equal(cutParagraph(text), text);
  }
  const code = `Look:\n\`\`\`\n${"x = 1\n".repeat(2_000)}`;
  assert.equal(cutParagraph(code), code);
});

/** A browser's storage with little room. */
class SmallBox implements Box {
  readonly #items = new Map<string, string>();
  readonly #room: number;

  constructor(room = Infinity) {
    this.#room = room;
  }

  get length(): number {
    return this.#items.size;
  }

  key(index: number): string | null {
    return [...this.#items.keys()][index] ?? null;
  }

  getItem(key: string): string | null {
    return this.#items.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    const others = [...this.#items].filter(([each]) => each !== key).reduce((sum, [, text]) => sum + text.length, 0);
    if (others + value.length > this.#room) throw new DOMException("full", "QuotaExceededError");
    this.#items.set(key, value);
  }

  removeItem(key: string): void {
    this.#items.delete(key);
  }
}

function conversation(id: string, changed: number, text = "x"): Conversation {
  return { id, title: id, changed, model: "m", turns: [{ role: "user", text }] };
}

test("conversations: the latest first, what cannot be read left out", () => {
  const box = new SmallBox();
  const store = new Store(box);
  store.save(conversation("a", 1));
  store.save(conversation("b", 2));
  box.setItem("andante.conversation.c", "{broken");
  box.setItem("somebody.else", "[]");
  assert.deepEqual(
    store.all().map(({ id }) => id),
    ["b", "a"],
  );
  store.remove("b");
  assert.deepEqual(
    store.all().map(({ id }) => id),
    ["a"],
  );
});

test("conversations: the oldest give way to a new one, by number and by room", () => {
  const many = new Store(new SmallBox());
  for (let at = 0; at < 230; at += 1) many.save(conversation(`c${at}`, at));
  assert.equal(many.all().length, 200);
  assert.equal(many.all().at(-1)?.id, "c30");

  const small = new Store(new SmallBox(1000));
  for (let at = 0; at < 9; at += 1) assert.ok(small.save(conversation(`c${at}`, at, "y".repeat(200))));
  assert.equal(small.all()[0]?.id, "c8");
  assert.ok(small.all().length >= 2);
  assert.equal(small.save(conversation("big", 99, "z".repeat(2000))), false);
});

test("a conversation as Markdown names who speaks", () => {
  const text = asMarkdown({
    ...conversation("a", 1, "Hello?"),
    turns: [
      { role: "user", text: "Hello?" },
      { role: "assistant", text: "Yes." },
    ],
  });
  assert.equal(text, "# a\n\n## You\n\nHello?\n\n## m\n\nYes.\n");
});

test("the timeline stays small, and its QoE is that of the deliveries", () => {
  const timeline = new Timeline();
  const pace = paceOf("reading");
  const deliveries: [number, number][] = [];
  for (let at = 0; at < 20_000; at += 1) {
    const time = 0.5 + at * 0.05;
    timeline.deliver(time, 4);
    timeline.sample(time, at);
    deliveries.push([time, 4]);
  }
  assert.ok(timeline.samples.length <= 601);
  assert.equal(timeline.delivered, 80_000);
  const expected = finishedQoe({ ...pace }, deliveries, 1001);
  assert.ok(Math.abs(timeline.qoe(pace, 1001, true) - expected) < 0.01);
});

test("an absence stops the reader's clock", () => {
  const pace = paceOf("reading");
  const timeline = new Timeline();
  timeline.deliver(0.5, 10);
  timeline.leave(1.2);
  timeline.leave(1.3);
  timeline.comeBack(61.2);
  timeline.deliver(61.3, 10);
  assert.ok(timeline.qoe(pace, 62, true) > 0.9);
  assert.deepEqual(timeline.away, [[1.2, 61.2]]);
});

test("why nothing comes, in plain words", () => {
  const state = { state: "queued", place: 3, produced: 0, delivered: 0, lead_s: null, resumed: 0 };
  assert.equal(inWords(state, 2, false), "Waiting in the queue: 3 answers are before yours. All engines are busy.");
  assert.equal(
    inWords({ ...state, place: 1 }, 2, false),
    "Waiting in the queue: 1 answer is before yours. All engines are busy.",
  );
  assert.equal(
    inWords({ ...state, place: 0 }, 2, false),
    "Waiting: yours is the next answer to start. All engines are busy.",
  );
  assert.equal(inWords(state, 0.5, false), "");
  assert.match(
    inWords({ ...state, state: "paused", place: 2 }, 9, true),
    /paused this answer.* 2 answers are before it\./,
  );
  assert.match(inWords({ ...state, reason: "share" }, 2, false), /before yours\. Others have had less than you lately/);
  for (const [reason, words] of [
    ["ahead", /^You have enough to read/],
    ["share", /^Others have had less/],
    ["away", /^Nobody was looking/],
    ["memory", /^The engine's memory is full/],
    ["new in a later gateway", /^The gateway has paused/],
  ] as const)
    assert.match(inWords({ ...state, state: "paused", reason }, 9, true), words);
  assert.equal(inWords({ ...state, state: "running" }, 9, true), "");
  assert.equal(inWords(null, 0.5, false), "");
  assert.equal(inWords(null, 3, false), "Waiting for the first word.");
});
