// Which questions are shown: a filter is a test of a row, on columns alone.

import { UNDEFINED_RANK, rankColumn } from "./columns.mjs";

/** Whether an answer (or a gold passage) is among the best k. */
export function isHit(rank, k) {
  return rank >= 1 && rank <= k;
}

const RANK_TESTS = {
  miss: (a, b, k) => a !== UNDEFINED_RANK && !isHit(a, k),
  near: (a, b, k) => a !== UNDEFINED_RANK && a > k && a <= 2 * k,
  flipped: (a, b, k) => a !== UNDEFINED_RANK && b !== UNDEFINED_RANK && isHit(a, k) !== isHit(b, k),
  gained: (a, b, k) => b !== UNDEFINED_RANK && isHit(a, k) && !isHit(b, k),
  lost: (a, b, k) => a !== UNDEFINED_RANK && !isHit(a, k) && isHit(b, k),
};
const OF_TWO = new Set(["flipped", "gained", "lost"]);

/** Whether a filter compares two systems. */
export function needsTwo(filter) {
  return OF_TWO.has(filter.kind);
}

/** A function row -> boolean for one of the summary's filters, with the systems A and B and the depth k chosen. */
export function testOf(filter, columns, rankKind, { a, b, k }) {
  if (filter.kind === "words") return (row) => columns.words[row] >= filter.min;
  if (filter.kind === "tag") return (row) => columns[`tag.${filter.tag}`][row] === 1;
  if (filter.kind === "dataset") return (row) => columns.dataset[row] === filter.dataset;
  const test = RANK_TESTS[filter.kind];
  const [ofA, ofB] = [a, b].map((system) => rankColumn(columns, rankKind, system));
  if (!test || !ofA || (needsTwo(filter) && !ofB)) return () => false;
  return (row) => test(ofA[row], ofB ? ofB[row] : UNDEFINED_RANK, k);
}

/** The rows of `order` that pass all tests, in that order. */
export function rowsThatPass(order, tests) {
  const rows = new Uint32Array(order.length);
  let count = 0;
  for (const row of order) {
    if (tests.every((test) => test(row))) rows[count++] = row;
  }
  return rows.subarray(0, count);
}
