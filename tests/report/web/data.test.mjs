// Blocks, columns, rankings: what Python packed is read as it was.

import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { gunzipJson, remembered } from "../../../dprkit/report/web/blocks.mjs";
import { columnsOf, rankColumn } from "../../../dprkit/report/web/columns.mjs";
import { bitsOf, codeOf, readSymbol } from "../../../dprkit/report/web/huffman.mjs";
import { entriesOf, foldedEntries, ranksOf } from "../../../dprkit/report/web/ranking.mjs";
import { bytesOfLetters } from "../../../dprkit/report/web/seven_bits.mjs";

test("a block of gzip gives its JSON, with letters of any script", async () => {
  const value = [["q1", "Wer schrieb „Ünïcode“ 😀 </script>?"]];
  assert.deepEqual(await gunzipJson(gzipSync(JSON.stringify(value))), value);
});

test("letters of seven bits give their bytes, also where one stands for two or is the last", () => {
  assert.deepEqual([...bytesOfLetters("!~")], [0b01000011]); // 0100001 1111110
  assert.deepEqual([...bytesOfLetters("\u0401\u06fc")], [0, 0b101, 0b11100111]); // 0 and 1; 60, which is <, and 124
  assert.deepEqual([...bytesOfLetters("!\u07bc")], [0b01000010]); // 0100001 0111100, by itself at the end
});

test("codes of one length are in the order of their symbols, and a single symbol takes no bit", () => {
  const bits = bitsOf(Uint8Array.of(0b01011011, 0b10000000));
  const code = codeOf(["b", "c", "a", "d"], [1, 2, 3, 3]);
  assert.equal([1, 2, 3, 4].map(() => readSymbol(code, bits)).join(""), "bcad"); // 0 10 110 111
  assert.equal(readSymbol(codeOf(["only"], [0]), bits), "only");
  assert.throws(() => readSymbol(codeOf(["a", "b"], [2, 2]), bitsOf(Uint8Array.of(0xff))), /broken/);
});

test("columns are views of the arrays behind the header", () => {
  const header = Buffer.from(JSON.stringify({ rows: 3, arrays: { "answer_rank.0": { type: "u2", offset: 0 }, "value.0.0": { type: "f4", offset: 8 } } }));
  const length = Math.ceil((4 + header.length) / 8) * 8 - 4;
  const bytes = new Uint8Array(4 + length + 8 + 12).fill(32);
  new DataView(bytes.buffer).setUint32(0, length, true);
  bytes.set(header, 4);
  new Uint16Array(bytes.buffer, 4 + length, 3).set([1, 0, 65535]);
  new Float32Array(bytes.buffer, 4 + length + 8, 3).set([0.5, NaN, 1]);
  const columns = columnsOf(bytes.buffer);
  assert.equal(columns.rows, 3);
  assert.deepEqual([...rankColumn(columns, "answer", 0)], [1, 0, 65535]);
  assert.deepEqual([...columns["value.0.0"]], [0.5, NaN, 1]);
  assert.equal(rankColumn(columns, null, 0), undefined);
});

test("what was loaded is remembered, the oldest is forgotten, and a failure is asked again", async () => {
  const asked = [];
  const load = remembered(async (key) => {
    asked.push(key);
    if (key === "bad") throw new Error("no such block");
    return key.toUpperCase();
  }, 2);
  assert.equal(await load("a"), "A");
  await load("b");
  await load("a"); // now b is the oldest
  await load("c");
  await load("a");
  await load("b");
  assert.deepEqual(asked, ["a", "b", "c", "b"]);
  await assert.rejects(load("bad"));
  await assert.rejects(load("bad"));
  assert.equal(asked.filter((key) => key === "bad").length, 2);
});

test("entries know their ranks, their spans, and whether they are gold", () => {
  const entries = entriesOf({ n: [7, 8, 9], s: [3, 2, 1], r: [1, 2, 57], m: { 1: [[0, 4]], 2: [] }, g: [57, null] });
  assert.deepEqual(entries.map((entry) => entry.rank), [1, 2, 57]);
  assert.deepEqual(entries.map((entry) => entry.spans), [undefined, [[0, 4]], []]);
  assert.deepEqual(entries.map((entry) => entry.gold), [false, false, true]);
  assert.deepEqual(entries.map((entry) => entry.matters), [false, true, true]);
  assert.equal(ranksOf(entries).get(9), 57);
  assert.deepEqual(entriesOf(null), []);
});

test("scores are as they are, or whole numbers that each fall from the one before", () => {
  const scores = (ranking) => entriesOf({ n: [1, 2, 3], ...ranking }).map((entry) => entry.score);
  assert.deepEqual(scores({ s: [3.5, 2, 1] }), [3.5, 2, 1]);
  assert.deepEqual(scores({ s: [71250, 350, 800], d: 3 }), [71.25, 70.9, 70.1]);
  assert.deepEqual(scores({ s: [-5, 0, 12], d: 0 }), [-5, -5, -17]);
});

test("below the first passages only what matters is shown, and how many lie between", () => {
  const entries = entriesOf({ n: [...Array(30).keys()], s: [], m: { 14: [] }, g: [25] });
  const folded = foldedEntries(entries, 10);
  assert.deepEqual(folded.map((entry) => entry.rank ?? `${entry.skipped} skipped`), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, "4 skipped", 15, "9 skipped", 25, "5 skipped"]);
  assert.deepEqual(foldedEntries(entries, 30), entries);
});
