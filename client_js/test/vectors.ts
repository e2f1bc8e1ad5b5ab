import { readFileSync } from "node:fs";

/** The test vectors that the gateway's tests hold too. */
export function vectors<T>(name: string): T[] {
  return JSON.parse(readFileSync(new URL(`../../../tests/vectors/${name}`, import.meta.url), "utf8"));
}

export interface Case {
  readonly name: string;
  readonly pace: { ttft_s: number; rate: number; start_units: number; paced: boolean };
  readonly deliveries: [number, number, number][];
  readonly away: [number, number][];
}

export const TOLERANCE = 1e-9;
