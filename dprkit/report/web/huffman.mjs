// Huffman's codes in their canonical form: a shorter code is smaller, and those of one length are in their order.

/** Bits of `bytes` from the first one on. */
export function bitsOf(bytes) {
  return { bytes, at: 0 };
}

/** The next `size` bits as a number. */
export function readNumber(bits, size) {
  let number = 0;
  for (let done = 0; done < size; done++, bits.at++) {
    number = number * 2 + ((bits.bytes[bits.at >> 3] >> (7 - (bits.at & 7))) & 1);
  }
  return number;
}

/** The codes of `symbols`, the shortest first, from their lengths. */
export function codeOf(symbols, lengths) {
  const counts = new Array(lengths.at(-1) + 1).fill(0);
  for (const length of lengths) counts[length]++;
  return { symbols, counts };
}

/** The symbol whose code comes next. */
export function readSymbol({ symbols, counts }, bits) {
  const { bytes } = bits;
  let [code, first, passed, at] = [0, 0, 0, bits.at];
  for (const count of counts) {
    if (code - first < count) {
      bits.at = at;
      return symbols[passed + code - first];
    }
    passed += count;
    first = (first + count) * 2;
    code = code * 2 + ((bytes[at >> 3] >> (7 - (at & 7))) & 1);
    at++;
  }
  throw new Error("its text is broken");
}
