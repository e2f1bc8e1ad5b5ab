/** A clock and its alarms, so that a test can bring its own. */
export interface Timers {
  /** Milliseconds on a clock that only goes forward. */
  now(): number;
  /** Calls back once after so many milliseconds, unless what it returns is called before. */
  after(ms: number, call: () => void): () => void;
}

/** The system's own. */
export const systemTimers: Timers = {
  now: () => performance.now(),
  after(ms, call) {
    const id = setTimeout(call, ms);
    return () => clearTimeout(id);
  },
};
