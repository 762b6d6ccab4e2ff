// Blocks of data in the page: base64 of gzip, decoded when they are asked for.

import { rowsOfWords } from "./words.mjs";

const KEPT = 400; // decoded blocks; of texts some 70 kB each

/** The bytes of base64 text; blanks in it count for nothing. */
export function bytesOfBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

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
    if (element && (element.nextSibling || whole)) return bytesOfBase64(element.textContent);
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

/** A block of passages, [[id, title, text], …], whose texts are numbers of the words of the block `words`. */
export const passageBlock = remembered(async (id) => {
  const [bytes, words] = await Promise.all([blockBytes(id).then(gunzip), jsonBlock("words")]);
  return rowsOfWords(new Uint8Array(bytes), words);
});
