/** What can go wrong with a stream, as a value. */

/**
 * `code` is the gateway's own (`queue_full`, `engine_failed`, ...), or one of ours: `network`, `connection_lost`,
 * `silent`, `too_late`, `bad_event`, `aborted`, `http`. `status` is null where there was no refusal by HTTP.
 */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly status: number | null;
  readonly requestId: string | null;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
  /** When to come back, in milliseconds, if the gateway said so. */
  readonly retryAfterMs: number | null;
}

const LATER = new Set([408, 429, 502, 503, 504]);

/** A failure that is not an HTTP refusal. */
export function failure(code: string, message: string, retryable: boolean): Failure {
  return { code, message, status: null, requestId: null, retryable, retryAfterMs: null };
}

/** A refusal: OpenAI's error object where the body is one. */
export async function refusal(response: Response): Promise<Failure> {
  const { status, headers } = response;
  const error = ofBody(await response.text().catch(() => ""));
  return {
    code: error.code ?? error.type ?? "http",
    message: error.message ?? `The gateway answered with HTTP status ${status}.`,
    status,
    requestId: headers.get("x-request-id"),
    retryable: LATER.has(status) && headers.get("x-should-retry") !== "false",
    retryAfterMs: retryAfter(headers),
  };
}

/** An error event inside a stream; it is final. */
export function streamed(error: ErrorObject): Failure {
  return failure(error.code ?? error.type ?? "stream", error.message ?? "The stream failed.", false);
}

export interface ErrorObject {
  readonly code?: string | null;
  readonly type?: string | null;
  readonly message?: string;
}

function ofBody(text: string): ErrorObject {
  try {
    const { error } = JSON.parse(text);
    return typeof error === "object" && error ? error : {};
  } catch {
    return {};
  }
}

function retryAfter(headers: Headers): number | null {
  const ms = Number(headers.get("retry-after-ms") || NaN);
  if (ms >= 0) return ms;
  const value = headers.get("retry-after");
  if (!value) return null;
  const wait = /^[\d.]+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return wait >= 0 ? wait : null;
}
