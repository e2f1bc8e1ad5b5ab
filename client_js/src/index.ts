/** Everything but what needs a page or a voice (`./dom`, `./speech`) or another library (`./transform`). */
export { Jitter, ReaderSpeed } from "./adapt.ts";
export { languages, type Pace, type PaceSpec, paceOf, usualWordsPerMinute } from "./pace.ts";
export { Pacer, type PacerOptions, type Taken } from "./pacer.ts";
export { type Away, type Delivery, type Expected, finishedQoe, leadOf, runningQoe, shownFrom } from "./qoe.ts";
export { ReaderReports, type ReaderState } from "./reports.ts";
export { type SseEvent, SseParser, SseTooLarge } from "./sse.ts";
export {
  AndanteStream,
  type Chunk,
  type Failure,
  type Gateway,
  type StreamItem,
  type StreamOptions,
  type StreamState,
} from "./stream.ts";
export { systemTimers, type Timers } from "./timers.ts";
