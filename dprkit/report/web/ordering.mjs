// The order of the questions: as in the file, by id, by rank, or by how much two systems differ.

import { UNDEFINED_RANK, rankColumn } from "./columns.mjs";

export const ORDERS = [
  { id: "file", label: "as in the file" },
  { id: "id", label: "by id" },
  { id: "rank", label: "rank under A, best first" },
  { id: "worst", label: "rank under A, worst first" },
  { id: "contrast", label: "contrast of A and B", two: true },
  { id: "gains", label: "A better than B first", two: true },
  { id: "losses", label: "B better than A first", two: true },
];

/** Whether an order compares two systems. */
export function ofTwo(order) {
  return Boolean(ORDERS.find(({ id }) => id === order)?.two);
}

/** How good each question's ranking is, by a measure's column or, without one, by 1 / rank. */
export function qualities(columns, rankKind, system, measure) {
  const values = measure === null ? undefined : columns[`value.${system}.${measure}`];
  if (values) return values;
  const ranks = rankColumn(columns, rankKind, system);
  return ranks && Float32Array.from(ranks, (rank) => (rank === UNDEFINED_RANK ? NaN : rank && 1 / rank));
}

/** A number for each row; rows are shown by rising number, NaN last. Undefined: the order cannot be had. */
function keysOf(order, columns, rankKind, { a, b, measure }) {
  if (order === "rank" || order === "worst") {
    const sign = order === "worst" ? -1 : 1;
    const ranks = rankColumn(columns, rankKind, a);
    return ranks && Float64Array.from(ranks, (rank) => (rank === UNDEFINED_RANK ? NaN : sign * (rank || Infinity)));
  }
  const [ofA, ofB] = [a, b].map((system) => qualities(columns, rankKind, system, measure));
  if (!ofA || !ofB) return undefined;
  const key = { contrast: (d) => -Math.abs(d), gains: (d) => -d, losses: (d) => d }[order];
  return key && Float64Array.from(ofA, (value, row) => key(value - ofB[row]));
}

/** All rows in an order. Equal ones stay as in the file. */
export function orderedRows(choice, columns, rankKind, ids) {
  const rows = Uint32Array.from({ length: columns.rows }, (_, row) => row);
  if (choice.order === "id") {
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    return rows.sort((x, y) => compare(ids(x), ids(y)) || x - y);
  }
  const keys = keysOf(choice.order, columns, rankKind, choice);
  if (!keys) return rows;
  const key = (row) => (Number.isNaN(keys[row]) ? Infinity : keys[row]);
  const last = (row) => Number(Number.isNaN(keys[row]));
  return rows.sort((x, y) => last(x) - last(y) || (key(x) < key(y) ? -1 : key(x) > key(y) ? 1 : x - y));
}
