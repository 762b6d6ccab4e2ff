// Texts that are kept as codes of words (dprkit/report/word_codes.py tells how).

import { bitsOf, codeOf, readNumber, readSymbol } from "./huffman.mjs";

const [END, OTHER] = [1, 2];

/**
 * How words are read, from the words of each class with the lengths of their codes, and from the lengths of the codes
 * of classes behind each class: {classAfter: (class) -> code, wordOf: (class) -> code}, each made when it is needed.
 */
export function wordCodes(classes, follow) {
  const made = (make) => {
    const known = [];
    return (at) => (known[at] ??= make(at));
  };
  const classAfter = made((before) => {
    const row = follow.subarray(before * classes.length, (before + 1) * classes.length);
    const own = [];
    for (let at = 0; at < row.length; at++) if (row[at]) own.push(at);
    own.sort((a, b) => row[a] - row[b]);
    return codeOf(own, own.map((at) => row[at]));
  });
  return { classAfter, wordOf: made((own) => codeOf(...classes[own])) };
}

/** [[field, …], …] of rows with `width` fields each. */
export function rowsOfWords(bytes, { classAfter, wordOf }, width = 3) {
  const bits = bitsOf(bytes);
  const fields = [];
  let [field, own] = ["", END];
  for (let left = readNumber(bits, 16); left > 0; ) {
    own = readSymbol(classAfter(own), bits);
    if (own === OTHER) field += String.fromCodePoint(readNumber(bits, 21));
    else field += readSymbol(wordOf(own), bits);
    if (own !== END) continue;
    fields.push(field);
    field = "";
    left--;
  }
  return Array.from({ length: fields.length / width }, (_, row) => fields.slice(row * width, (row + 1) * width));
}
