// Huffman's codes in their canonical form: a shorter code is smaller, and those of one length are in their order.

const LONGEST = 64; // bits: no code is longer, unless the block is broken

/** A function that gives the next bit of `bytes`. */
export function bitsOf(bytes) {
  let at = 0;
  return () => (bytes[at >> 3] >> (7 - (at++ & 7))) & 1;
}

/** The next `size` bits as a number. */
export function numberOf(bit, size) {
  let number = 0;
  for (let done = 0; done < size; done++) number = number * 2 + bit();
  return number;
}

/** A function of `bit` that reads one of `symbols`, which have codes of `lengths`. */
export function codeOf(symbols, lengths) {
  const ordered = symbols.map((symbol, at) => [lengths[at], symbol]).sort(([a], [b]) => a - b);
  const counts = new Uint32Array(LONGEST);
  for (const [length] of ordered) counts[length]++;
  return (bit) => {
    let [code, first, passed] = [0, 0, 0];
    for (let length = 0; length < LONGEST; length++) {
      const count = counts[length];
      if (code - first < count) return ordered[passed + code - first][1];
      passed += count;
      first = (first + count) * 2;
      code = code * 2 + bit();
    }
    throw new Error("its text is broken");
  };
}
