// Texts that are kept as numbers of words (dprkit/report/words.py tells how).

const ONE_BYTE = 200;
const TWO_BYTES = ONE_BYTE + 40 * 256;
const FIELD_END = 254;

/** [[field, …], …] of rows with `width` fields each, from their bytes and the words that have numbers. */
export function rowsOfWords(bytes, words, width = 3) {
  const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  const fields = [];
  let field = "";
  let at = 0;
  while (at < bytes.length) {
    const first = bytes[at++];
    if (first < ONE_BYTE) field += words[first];
    else if (first < 240) field += words[ONE_BYTE + (first - 200) * 256 + bytes[at++]];
    else if (first < FIELD_END) field += words[TWO_BYTES + (first - 240) * 65536 + bytes[at++] * 256 + bytes[at++]];
    else if (first === FIELD_END) {
      fields.push(field);
      field = "";
    } else {
      const end = bytes.indexOf(255, at);
      field += utf8.decode(bytes.subarray(at, end));
      at = end + 1;
    }
  }
  return Array.from({ length: fields.length / width }, (_, row) => fields.slice(row * width, (row + 1) * width));
}
