// Bytes as letters of seven bits (dprkit/report/seven_bits.py tells how).

const UNFIT = [0, 10, 13, 26, 27, 60, 127];

/** The bytes of a text. */
export function bytesOfLetters(text) {
  const bytes = new Uint8Array(Math.floor((text.length * 7) / 4)); // a character is two letters at the most
  let [at, held, bits] = [0, 0, 0];
  const add = (letter) => {
    held = ((held << 7) | letter) & 0x7fff;
    bits += 7;
    if (bits >= 8) bytes[at++] = held >> (bits -= 8);
  };
  for (let place = 0; place < text.length; place++) {
    const code = text.charCodeAt(place);
    const which = (code >> 7) & 7;
    if (code >= 128 && which < UNFIT.length) add(UNFIT[which]);
    add(code & 127);
  }
  return bytes.subarray(0, at);
}
