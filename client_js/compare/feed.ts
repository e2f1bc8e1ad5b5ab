/** Follows the event stream, and again when it is lost. */

import { SseParser } from "../src/sse.ts";
import type { Line } from "./burst.ts";

const AGAIN_MS = 2000;
const REFUSED: ReadonlySet<number> = new Set([401, 404]);

/** The last burst from its beginning, then what comes; after a loss from its beginning again. `trouble` says what is wrong, "" when it is over. */
export async function follow(
  key: string,
  take: (line: Line) => void,
  trouble: (status: number) => void,
): Promise<void> {
  for (;;) {
    const status = await once(key, take, trouble);
    trouble(status);
    if (REFUSED.has(status)) return;
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

/** One connection; its status, 0 if it was lost. */
async function once(key: string, take: (line: Line) => void, trouble: (status: number) => void): Promise<number> {
  try {
    const answer = await fetch("/admin/compare", { headers: { authorization: `Bearer ${key}` } });
    if (!answer.ok || !answer.body) return answer.status;
    trouble(answer.status);
    const parser = new SseParser();
    for await (const bytes of chunks(answer.body))
      for (const { data } of parser.feed(bytes)) take(JSON.parse(data) as Line);
    return answer.status;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // what fetch calls a lost network
  }
  return 0;
}

async function* chunks(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** Begin a burst; null when it has begun, else why not. */
export async function begin(key: string): Promise<string | null> {
  const call = { method: "POST", headers: { authorization: `Bearer ${key}` } };
  const answer = await fetch("/admin/compare", call).catch(() => null);
  if (answer?.ok) return null;
  const body = await answer?.json().catch(() => null);
  return body?.error?.message ?? "The gateway does not answer.";
}
