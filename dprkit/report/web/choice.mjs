// What is chosen in the browser of questions, made possible: an address may ask for what a report does not have.

import { ofTwo, ORDERS } from "./ordering.mjs";

const USUAL = 20; // the depth that is asked for most

/** {a, b, k, order, measure}: two systems, a depth, an order, and the number of a measure or null for ranks. */
export function choiceOf(state, summary) {
  const last = summary.systems.length - 1;
  const a = Math.min(state.a, last);
  const b = Math.min(state.b, last);
  return {
    a,
    b: a === b && last > 0 ? (a + 1) % (last + 1) : b,
    k: state.k || usualDepth(summary.depths ?? []),
    order: orderOf(state.order, last > 0),
    measure: measureOf(state.measure, summary),
  };
}

function usualDepth(depths) {
  return depths.includes(USUAL) ? USUAL : depths.at(-1) ?? USUAL;
}

function orderOf(wanted, two) {
  return ORDERS.some(({ id }) => id === wanted) && (two || !ofTwo(wanted)) ? wanted : "file";
}

function measureOf(wanted, { measures, rank }) {
  const number = measures.findIndex(({ id }) => id === wanted);
  if (number >= 0) return number;
  return rank || !measures.length ? null : 0;
}
