import assert from "node:assert/strict";
import { test } from "node:test";
import { announceTo, appendTo, Presenter } from "../src/dom.ts";
import { Pacer } from "../src/pacer.ts";
import { Sentences } from "../src/sentences.ts";
import { Speech, type Voice } from "../src/speech.ts";
import { VirtualTimers } from "./virtual.ts";

/** As much of an element as is used. */
function element() {
  const nodes: { text: string }[] = [];
  const document = {
    createTextNode: (text: string) => ({
      text,
      get length() {
        return this.text.length;
      },
      appendData(more: string) {
        this.text += more;
      },
    }),
  };
  const it = { ownerDocument: document, append: (node: { text: string }) => nodes.push(node), textContent: "" };
  return { nodes, it: it as unknown as Element };
}

function stage(pacer: Pacer, options: { calm?: boolean; finished?: () => void } = {}) {
  const timers = new VirtualTimers();
  const written: [number, string][] = [];
  const presenter = new Presenter({
    pacer,
    write: (text) => written.push([timers.now(), text]),
    calm: false,
    now: () => timers.now(),
    frame: (call) => timers.after(16, call),
    ...options,
  });
  return { timers, written, presenter };
}

test("writes what is due once a frame, sleeps when nothing is there, and ends once", async () => {
  const pacer = new Pacer({ rate: 100 });
  let ends = 0;
  const { timers, written, presenter } = stage(pacer, { finished: () => (ends += 1) });
  await timers.advance(1000);
  assert.equal(timers.next, null, "no frame is asked for while nothing is there");
  pacer.push("0123456789", timers.now());
  presenter.wake();
  presenter.wake();
  await timers.advance(200);
  assert.equal(written.map(([, text]) => text).join(""), "0123456789");
  assert.ok(written.every(([, text]) => text.length <= 3));
  pacer.end(timers.now());
  presenter.wake();
  await timers.advance(100);
  presenter.wake();
  await timers.advance(100);
  assert.equal(ends, 1);
  assert.equal(timers.next, null);
});

test("a reader who wants little motion gets sentences, to the letter", async () => {
  const pacer = new Pacer({ rate: 50 });
  const { timers, written, presenter } = stage(pacer, { calm: true });
  const text = "The river runs. It  is old.\n\nIt is wide";
  pacer.push(text, 0);
  presenter.wake();
  await timers.advance(2000);
  pacer.end(timers.now());
  presenter.wake();
  await timers.advance(2000);
  assert.equal(written.map(([, part]) => part).join(""), text);
  assert.equal(written[0]?.[1], "The river runs. ");
  assert.ok(written.length <= 4);
});

test("appends in nodes of bounded length", () => {
  const { nodes, it } = element();
  const write = appendTo(it);
  const text = "a long answer ".repeat(2000);
  for (let at = 0; at < text.length; at += 7) write(text.slice(at, at + 7));
  assert.equal(nodes.map(({ text: each }) => each).join(""), text);
  assert.ok(nodes.every(({ text: each }) => each.length <= 4096));
  assert.equal(nodes.length, Math.ceil(text.length / 4095));
});

/** As much of a live region as is used: what was told to it, and what it still holds. */
function region() {
  const told: string[] = [];
  const held: { textContent: string; remove: () => void }[] = [];
  const it = {
    ownerDocument: {
      createElement: () => ({ textContent: "", remove: () => held.shift() }),
    },
    append(child: (typeof held)[number]) {
      told.push(child.textContent);
      held.push(child);
    },
    get childElementCount() {
      return held.length;
    },
    get firstElementChild() {
      return held[0];
    },
  };
  return { told, held, it: it as unknown as Element };
}

test("screen readers hear whole sentences, and what is left at the end", () => {
  const { told, it } = region();
  const { write, end } = announceTo(it, "en");
  write("Rivers ru");
  assert.deepEqual(told, []);
  write("n. They are");
  end();
  assert.deepEqual(told, ["Rivers run. ", "They are "]);
});

test("sentences that come at once are all told, and a long answer leaves the last ones only", () => {
  const { told, held, it } = region();
  const { write } = announceTo(it, "en");
  for (let each = 0; each < 100; each += 1) write(`This is number ${each}. And`);
  assert.equal(told.length, 100);
  assert.equal(held.length, 8);
  assert.equal(held.at(-1)?.textContent, told.at(-1));
});

test("sentences: cut the same however the text comes", () => {
  const text = "One. Two! Is it three?\nA list\n- four\n".repeat(3);
  const whole = new Sentences("en");
  const parts = [...whole.push(text), ...whole.end()];
  const bit = new Sentences("en");
  const pieces = [...Array.from(text).flatMap((each) => bit.push(each)), ...bit.end()];
  assert.deepEqual(pieces, parts);
  assert.equal(parts[0], "One.");
});

test("a text without ends of sentences is not held for ever", () => {
  const sentences = new Sentences("en");
  assert.ok(Array.from("word ".repeat(200)).some((each) => sentences.push(each).length > 0));
});

test("a text without ends of sentences is cut between words, and never inside an emoji", () => {
  const text = "we sing 👩‍🎤 ".repeat(120);
  const sentences = new Sentences("en");
  const pieces = [...Array.from(text).flatMap((each) => sentences.push(each)), ...sentences.end()];
  assert.ok(pieces.length > 1);
  assert.deepEqual(pieces.join(" ").split(" "), text.trim().split(" "));
});

test("the voice gets sentences, is busy with three, and can be silenced", () => {
  const spoken: { text: string; onend: (() => void) | null; lang: string; rate: number }[] = [];
  let cancelled = 0;
  const voice: Voice = { speak: (each) => spoken.push(each as never), cancel: () => (cancelled += 1) };
  const utterance = (text: string) => ({ text, onend: null, lang: "", rate: 0 }) as never;
  const speech = new Speech({ language: "en", rate: 1.1, voice, utterance });
  speech.write("One. Two. Three. Fo");
  assert.deepEqual(
    spoken.map(({ text }) => text),
    ["One.", "Two.", "Three."],
  );
  assert.deepEqual([spoken[0]?.lang, spoken[0]?.rate], ["en", 1.1]);
  assert.ok(speech.busy);
  spoken[0]?.onend?.();
  assert.ok(!speech.busy);
  speech.write("ur");
  speech.end();
  assert.equal(spoken.at(-1)?.text, "Four");
  speech.stop();
  assert.equal(cancelled, 1);
});
