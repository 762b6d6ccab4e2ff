// Filters, search, order, and the address that keeps them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { hashOf, stateOf } from "../../../dprkit/report/web/address.mjs";
import { rowsThatPass, testOf } from "../../../dprkit/report/web/filtering.mjs";
import { orderedRows, qualities } from "../../../dprkit/report/web/ordering.mjs";
import { haystacks, searchTest } from "../../../dprkit/report/web/searching.mjs";

const columns = {
  rows: 6,
  "answer_rank.0": Uint16Array.of(1, 20, 21, 40, 0, 65535),
  "answer_rank.1": Uint16Array.of(1, 21, 3, 41, 65535, 2),
  "value.0.0": Float32Array.of(1, 0.5, 0, NaN, 0.25, 1),
  "value.1.0": Float32Array.of(1, 0, 1, 0.5, 0.25, 0),
  words: Uint16Array.of(3, 9, 15, 16, 4, 5),
  "tag.0": Uint8Array.of(0, 1, 0, 1, 0, 0),
  dataset: Uint16Array.of(0, 0, 1, 1, 65535, 0),
};
const inOrder = Uint32Array.of(0, 1, 2, 3, 4, 5);

function passing(filter, choice = { a: 0, b: 1, k: 20 }) {
  return [...rowsThatPass(inOrder, [testOf(filter, columns, "answer", choice)])];
}

test("each filter lets through what its sentence says", () => {
  assert.deepEqual(passing({ kind: "miss" }), [2, 3, 4]); // undefined is no miss
  assert.deepEqual(passing({ kind: "near" }), [2, 3]); // ranks 21 to 40
  assert.deepEqual(passing({ kind: "flipped" }), [1, 2]); // both are judged
  assert.deepEqual(passing({ kind: "gained" }), [1]);
  assert.deepEqual(passing({ kind: "lost" }), [2]);
  assert.deepEqual(passing({ kind: "words", min: 15 }), [2, 3]);
  assert.deepEqual(passing({ kind: "tag", tag: 0 }), [1, 3]);
  assert.deepEqual(passing({ kind: "dataset", dataset: 1 }), [2, 3]);
});

test("filters follow the chosen systems and depth", () => {
  assert.deepEqual(passing({ kind: "miss" }, { a: 1, b: 0, k: 2 }), [1, 2, 3]);
  assert.deepEqual(passing({ kind: "gained" }, { a: 1, b: 0, k: 20 }), [2]);
  assert.deepEqual(passing({ kind: "unknown" }), []);
  assert.deepEqual([...rowsThatPass(inOrder, [])], [...inOrder]);
});

test("questions are ordered by rank, contrast, gains, losses and id; undefined ones come last", () => {
  const ids = ["q10", "q9", "a", "q1", "Q2", "b"];
  const order = (name, measure = null) => [...orderedRows({ order: name, a: 0, b: 1, measure }, columns, "answer", (row) => ids[row])];
  assert.deepEqual(order("file"), [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(order("rank"), [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(order("worst"), [4, 3, 2, 1, 0, 5]);
  assert.deepEqual(order("id"), [2, 5, 3, 4, 1, 0]); // numbers as numbers
  assert.deepEqual(order("contrast", 0), [2, 5, 1, 0, 4, 3]); // differences 0 .5 -1 NaN 0 1
  assert.deepEqual(order("gains", 0), [5, 1, 0, 4, 2, 3]);
  assert.deepEqual(order("losses", 0), [2, 0, 4, 1, 5, 3]);
  assert.equal(order("contrast")[0], 2); // 1/21 against 1/3
  assert.deepEqual([...qualities(columns, "answer", 0, null)].slice(3), [Math.fround(1 / 40), 0, NaN]);
});

test("every word that is searched must occur in the question, an answer or the id; case and accents do not count", () => {
  const texts = haystacks([["q1", "Who wrote Émile?", ["Jean-Jacques Rousseau"], []], ["q2", "who sang it", ["Emile Ford"], []]]);
  const found = (typed) => [...rowsThatPass(Uint32Array.of(0, 1), [searchTest(typed, texts)].filter(Boolean))];
  assert.deepEqual(found("EMILE"), [0, 1]);
  assert.deepEqual(found("  émile rousseau "), [0]);
  assert.deepEqual(found("q2"), [1]);
  assert.deepEqual(found("who nobody"), []);
  assert.deepEqual(found("  "), [0, 1]);
});

test("the address gives back every state, whatever letters it has", () => {
  const state = { view: "questions", id: "a/b c?d#e%20&=ü", q: "who & what + why", only: ["miss", "tag:x,y &z"], a: 2, b: 0, k: 100, order: "gains", measure: "nDCG@10" };
  assert.deepEqual(stateOf(hashOf(state)), state);
  assert.equal(hashOf(stateOf("#questions")), "#questions");
});

test("an address that means nothing is the start", () => {
  const start = stateOf("");
  assert.equal(start.view, "overview");
  assert.deepEqual(stateOf("#nowhere?a=-1&k=x"), start);
  assert.equal(stateOf("#questions/100%").id, "100%");
});
