// Blocks of data in the page, decoded when they are asked for.

import { bytesOfLetters } from "./seven_bits.mjs";
import { rowsOfWords, wordCodes } from "./words.mjs";

const KEPT = 400; // decoded blocks; of texts some 70 kB each

/** The ArrayBuffer that was compressed. */
export function gunzip(bytes) {
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(unpacked).arrayBuffer();
}

/** The JSON that was compressed. */
export async function gunzipJson(bytes) {
  return JSON.parse(new TextDecoder().decode(await gunzip(bytes)));
}

/** The bytes of the block `id`, once the browser has read it: the page is used while the file is still being read. */
export async function blockBytes(id) {
  for (;;) {
    const element = document.getElementById(id);
    const whole = document.readyState !== "loading";
    if (element && (element.nextSibling || whole)) return bytesOfLetters(element.textContent);
    if (whole) throw new Error(`this file has no block ${id}: it was cut off, or changed`);
    await new Promise((done) => setTimeout(done, 30));
  }
}

/** A function of a key that remembers what `load` gave for the last keys, and asks anew where it failed. */
export function remembered(load, kept = KEPT) {
  const known = new Map();
  return (key) => {
    const found = known.get(key) ?? load(key);
    known.delete(key);
    known.set(key, found);
    if (known.size > kept) known.delete(known.keys().next().value);
    found.catch(() => known.delete(key));
    return found;
  };
}

export const jsonBlock = remembered(async (id) => gunzipJson(await blockBytes(id)));

const codesOf = remembered(async (id) => {
  const [classes, follow] = await Promise.all([jsonBlock(id), blockBytes("follow").then(gunzip)]);
  return wordCodes(classes, new Uint8Array(follow));
});

/** A block of passages, [[id, title, text], …], as codes of words. */
export const passageBlock = remembered(async (id) => {
  const [bytes, codes] = await Promise.all([blockBytes(id), codesOf("words")]);
  return rowsOfWords(bytes, codes);
});
