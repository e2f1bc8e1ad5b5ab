/** Text cut at whole grapheme clusters: what a reader takes for one character. */

const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** One cluster for each code unit: nothing in it joins its neighbours. */
const PLAIN = /^[\n\x20-\x7e]*$/;

/** A last character that what follows may well join: marks, joiners, flags, emoji, and letters that carry vowel signs. */
const OPEN = /[\p{M}\p{Cf}\p{RI}\p{ExtPict}\r]$|(?![\p{sc=Han}\p{sc=Hira}\p{sc=Kana}\p{sc=Hang}])\p{Lo}$/u;

/** How many code points a text has; half a surrogate pair counts as one. */
export function codePoints(text: string): number {
  return text.length - (text.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0);
}

/** `end`: where to cut, in code units. `units`: code points before it. `next`: code points of the cluster that follows. */
export interface Cut {
  readonly end: number;
  readonly units: number;
  readonly next: number;
}

/**
 * The longest run of whole clusters with at most `budget` code points. Unless `closed`, a last cluster that more text
 * may still join stays back.
 */
export function cut(text: string, budget: number, closed: boolean): Cut {
  const window = text.slice(0, Math.min(text.length, 2 * budget + 64)); // costs what it gives, however long the text is
  if (PLAIN.test(window)) {
    const end = Math.min(budget, window.length);
    return { end, units: end, next: end < text.length ? 1 : 0 };
  }
  let end = 0;
  let units = 0;
  for (const { segment, index } of segmenter.segment(window)) {
    const after = index + segment.length;
    const size = codePoints(segment);
    const unsure = after === window.length && (window.length < text.length || (!closed && OPEN.test(segment)));
    if (unsure || units + size > budget) return { end, units, next: size };
    end = after;
    units += size;
  }
  return { end, units, next: 0 };
}
