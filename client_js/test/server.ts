import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** One event of a stream's log; the server numbers them from 1. */
export interface Logged {
  readonly event?: string;
  readonly data: unknown;
}

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

type Answer = (request: Seen, response: ServerResponse) => void;

/** A small server that speaks the gateway's resumable streams, and breaks them where it is told. */
export class StreamServer {
  readonly seen: Seen[] = [];
  /** Where connection number n breaks off, in bytes of its body; none: it goes through. */
  cuts: (number | null)[] = [];
  /** Answers in place of the stream, one for each request. */
  instead: (Answer | null)[] = [];
  log: Logged[] = [];
  resumable = true;
  readonly #server: Server = createServer((request, response) => void this.#serve(request, response));

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = "";
    for await (const piece of request) body += piece;
    const seen = { method: request.method ?? "", path: request.url ?? "", headers: request.headers, body };
    this.seen.push(seen);
    const answer = this.instead.shift();
    if (answer) return answer(seen, response);
    if (seen.method === "DELETE") response.writeHead(204).end();
    else this.#stream(seen, response);
  }

  #stream({ headers }: Seen, response: ServerResponse): void {
    const after = Number(headers["last-event-id"] ?? 0);
    const own = this.resumable ? { "x-stream-id": "s-1", "x-stream-resume": "token" } : {};
    response.writeHead(200, { "content-type": "text/event-stream", "x-request-id": "r-1", ...own });
    const lines = this.log.map(({ event, data }, index) => {
      const kind = event ? `event: ${event}\n` : "";
      return `${this.resumable ? `id: ${index + 1}\n` : ""}${kind}data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;
    });
    const bytes = Buffer.from(lines.slice(after).join(""));
    const cut = this.cuts.shift() ?? null;
    if (cut === null) response.end(bytes);
    else response.write(bytes.subarray(0, cut), () => response.destroy());
  }
}

/** A log of an answer: a chunk for each text, with states between, then the end. */
export function answerOf(texts: string[]): Logged[] {
  const chunk = (delta: object, finish_reason: string | null = null) => ({
    data: { choices: [{ delta, finish_reason }] },
  });
  const state = { state: "running", place: null, produced: 3, delivered: 3, lead_s: 0.5, level: "token", resumed: 0 };
  return [
    chunk({ role: "assistant" }),
    { event: "andante", data: state },
    ...texts.map((content) => chunk({ content })),
    chunk({}, "stop"),
    { data: "[DONE]" },
  ];
}
