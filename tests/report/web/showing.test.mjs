// Numbers, spans, series, and the windows and ticks of lists and charts.

import assert from "node:assert/strict";
import { test } from "node:test";

import "./page_globals.mjs";
import { counted, decimalsOf, interval, rankText, scoreText, share, short, signed } from "../../../dprkit/report/web/numbers.mjs";
import { commonSteps, firstLabels, groupsOfRuns, smoothed, valuesAt } from "../../../dprkit/report/web/series.mjs";
import { excerptPieces, pieces } from "../../../dprkit/report/web/spans.mjs";

const { evenTicks, logTicks } = await import("../../../dprkit/report/web/scatter.mjs");
const { windowOf } = await import("../../../dprkit/report/web/virtual_list.mjs");
const { bestOf, measureRows, remarksOf } = await import("../../../dprkit/report/web/figures_table.mjs");
const { frontierOf, groupsOf } = await import("../../../dprkit/report/web/tuning.mjs");

test("numbers are shown as people read them, and what is undefined is a dash", () => {
  assert.equal(counted(12345, "question"), "12,345 questions");
  assert.equal(counted(1, "query", "queries"), "1 query");
  assert.equal(share(0.5), "0.5000");
  assert.equal(share(null), "–");
  assert.equal(share(NaN), "–");
  assert.equal(interval([0.44, 0.4567]), "0.440 – 0.457");
  assert.equal(interval(undefined), "");
  assert.equal(signed(-0.25, 2), "−0.25");
  assert.equal(signed(0.25, 2), "+0.25");
  assert.deepEqual([0, 0.0123, 7, 1536, 302745600, 2e-5].map(short), ["0", "0.0123", "7", "1.54 k", "303 M", "2.0e-5"]);
  assert.equal(scoreText(71.234567), "71.235");
  assert.deepEqual([0, 3, 65535].map(rankText), ["–", "3", "?"]);
});

test("the pieces of a text are the text, and its spans are lit, also where they overlap or reach out", () => {
  const text = "😀 Paris is the capital, Paris!";
  const lit = (spans) => pieces(text, spans).filter((piece) => piece.lit).map((piece) => piece.text);
  assert.deepEqual(lit([[25, 30], [3, 8]]), ["Paris", "Paris"]);
  assert.deepEqual(lit([[3, 8], [6, 11]]), ["Paris", " is"]);
  assert.deepEqual(lit([[25, 999], [50, 60]]), ["Paris!"]);
  for (const spans of [[], [[0, 31]], [[3, 8], [3, 8]]]) assert.equal(pieces(text, spans).map((piece) => piece.text).join(""), text);
});

test("a closed passage shows the part round its first match, cut at words", () => {
  const text = `${"before ".repeat(60)}ANSWER ${"after ".repeat(60)}`;
  const at = text.indexOf("ANSWER");
  const shown = excerptPieces(text, [[at, at + 6]], 120);
  assert.deepEqual(shown.filter((piece) => piece.lit).map((piece) => piece.text), ["ANSWER"]);
  const words = shown.map((piece) => piece.text).join("");
  assert.match(words, /^… (before )+ANSWER( after)+ …$/);
  assert.ok(words.length < 140);
  assert.equal(excerptPieces("a short text", [], 120).map((piece) => piece.text).join(""), "a short text");
});

test("series of several runs share their steps", () => {
  const [a, b] = [{ x: [1, 3], y: [10, 30] }, { x: [2, 3], y: [20, 31] }];
  assert.deepEqual(commonSteps([a, b]), [1, 2, 3]);
  assert.deepEqual(valuesAt([1, 2, 3], b), [null, 20, 31]);
  const groups = groupsOfRuns([{ series: [{ group: "loss", ...a }] }, { series: [{ group: "loss", ...b }, { group: "lr", ...b }] }]);
  assert.deepEqual(groups.map(({ group, series }) => [group, series.map(({ run }) => run)]), [["loss", [0, 1]], ["lr", [1]]]);
});

test("of many curves the training's first and the one of the best step are shown at first", () => {
  const series = [["train", "accuracy"], ["valid", "validation accuracy@1"], ["valid", "validation mrr@10"]].map(([kind, label]) => ({ kind, label }));
  assert.deepEqual(firstLabels(series, "mrr@10"), ["accuracy", "validation mrr@10"]);
  assert.deepEqual(firstLabels(series, "average_rank"), ["accuracy", "validation accuracy@1"]);
  assert.deepEqual(firstLabels(series.slice(1), undefined), ["validation accuracy@1"]);
});

test("an axis has as many decimals as tell its values apart", () => {
  assert.equal(decimalsOf([0, 0.2, 0.4]), 2);
  assert.equal(decimalsOf([0.996, 0.998, 1]), 3);
  assert.equal(decimalsOf([1]), 2);
});

test("smoothing starts at the first value and leaves gaps as they are", () => {
  assert.deepEqual(smoothed([4, null, 4], 0.9).map((value) => value && Number(value.toFixed(9))), [4, null, 4]);
  const [, second] = smoothed([0, 1], 0.5); // (.5 * 0 * .5 + .5 * 1) / .75
  assert.ok(Math.abs(second - 2 / 3) < 1e-12);
  assert.deepEqual(smoothed([1, 2], 0), [1, 2]);
});

test("ticks are round numbers inside the axis", () => {
  assert.deepEqual(logTicks(0.15, 12), [0.2, 0.5, 1, 2, 5, 10]);
  assert.deepEqual(logTicks(0.5, 20000), [1, 10, 100, 1000, 10000]);
  assert.deepEqual(evenTicks(0.47, 1.03), [0.6, 0.8, 1]);
  assert.deepEqual(evenTicks(3, 3), [3]);
});

test("a list draws the rows in sight and a few beyond", () => {
  assert.deepEqual(windowOf(0, 440, 44, 10000), [0, 16]);
  assert.deepEqual(windowOf(44000, 440, 44, 10000), [994, 1016]);
  assert.deepEqual(windowOf(0, 440, 44, 3), [0, 3]);
});

test("the table has a row for every measure of every system, and says what qualifies a figure", () => {
  const systems = [
    { metrics: { nDCG: { 10: 0.5 } }, missing: { nDCG: { 10: 1200 } }, tied: { nDCG: { 10: 0 } } },
    { metrics: { AP: { "": null }, nDCG: { 5: 0.4 } } },
  ];
  assert.deepEqual(measureRows(systems, [{ name: "nDCG", depth: 10 }]), [{ name: "nDCG", depths: ["5", "10"] }, { name: "AP", depths: [""] }]);
  assert.deepEqual(remarksOf(systems[0], "nDCG", "10"), ["1,200 missing, counted as 0"]);
  assert.equal(bestOf([0.4, null, 0.6]), 0.6);
  assert.equal(bestOf([0.4, 0.4]), undefined);
});

test("the frontier is what nothing beats, and of many types those on it have colours", () => {
  const place = (x, y) => ({ x, y });
  const points = [place(1, 0.5), place(2, 0.4), place(2, 0.9), place(3, 0.9), place(4, 1)];
  assert.deepEqual(frontierOf(points), [points[0], points[2], points[4]]);
  const many = Array.from({ length: 9 }, (_, at) => ({ name: `type ${at}`, depth: "", quality: 0.5, p50_ms: 9 - at }));
  const groups = groupsOf([...many, { name: "best", depth: "", quality: 1, p50_ms: 20 }], "p50_ms", String);
  assert.deepEqual(groups.map(({ label }) => label), ["8 other types", "nothing is better and as cheap", "type 8", "best"]);
  assert.deepEqual(groups.map(({ tone }) => tone), [undefined, undefined, 0, 1]);
});

test("points of a type are one group, by rising cost; what was not measured is left out", () => {
  const points = [{ name: "hnsw", depth: "ef 2", quality: 0.9, p50_ms: 2 }, { name: "hnsw", depth: "ef 1", quality: 0.8, p50_ms: 1 }, { name: "flat", depth: "", quality: 1, p50_ms: null }];
  const [group, ...others] = groupsOf(points, "p50_ms", String);
  assert.deepEqual(group.points.map(({ x, y }) => [x, y]), [[1, 0.8], [2, 0.9]]);
  assert.equal(others.length, 0);
});
