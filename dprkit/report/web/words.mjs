// Texts that are kept as codes of words (dprkit/report/word_codes.py tells how).

import { bitsOf, codeOf, numberOf } from "./huffman.mjs";

const [END, OTHER] = [1, 2];

/**
 * How words are read, from the words of each class with the lengths of their codes, and from the lengths of the codes
 * of classes behind each class: {classAfter: (class) -> code, wordOf: (class) -> code}, each made when it is needed.
 */
export function wordCodes(classes, follow) {
  const count = classes.length;
  const made = (make) => {
    const known = [];
    return (at) => (known[at] ??= make(at));
  };
  const classAfter = made((before) => {
    const row = [...follow.subarray(before * count, (before + 1) * count)];
    const after = row.flatMap((length, own) => (length ? [own] : []));
    return codeOf(after, after.map((own) => row[own]));
  });
  return { classAfter, wordOf: made((own) => codeOf(...classes[own])) };
}

/** [[field, …], …] of rows with `width` fields each. */
export function rowsOfWords(bytes, { classAfter, wordOf }, width = 3) {
  const bit = bitsOf(bytes);
  const fields = [];
  let [field, own] = ["", END];
  for (let left = numberOf(bit, 16); left > 0; ) {
    own = classAfter(own)(bit);
    if (own === OTHER) field += String.fromCodePoint(numberOf(bit, 21));
    else field += wordOf(own)(bit);
    if (own !== END) continue;
    fields.push(field);
    field = "";
    left--;
  }
  return Array.from({ length: fields.length / width }, (_, row) => fields.slice(row * width, (row + 1) * width));
}
