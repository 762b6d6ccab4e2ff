// A passage's text in pieces: what matched an answer is lit. And the part of it that a closed passage shows.

/** [{text, lit, start}] whose texts together are `text`. `spans` are [start, end) in UTF-16 units, in any order. */
export function pieces(text, spans) {
  const found = [];
  let at = 0;
  const add = (end, lit) => end > at && found.push({ text: text.slice(at, end), lit, start: at }) && (at = end);
  for (const [start, end] of [...spans].sort((x, y) => x[0] - y[0])) {
    add(Math.min(Math.max(start, at), text.length), false);
    add(Math.min(end, text.length), true);
  }
  add(text.length, false);
  return found;
}

/** Where a part of `length` units around the first span begins and ends, moved out to whole words. */
export function excerptOf(text, spans, length = 220) {
  if (text.length <= length * 1.2) return [0, text.length];
  const first = spans.length ? Math.min(...spans.map(([start]) => start)) : 0;
  const wanted = Math.min(Math.max(0, first - length * 0.4), text.length - length);
  const start = wanted <= 0 ? 0 : text.lastIndexOf(" ", wanted) + 1;
  const stop = text.indexOf(" ", start + length);
  return [start, stop < 0 ? text.length : stop];
}

/** The excerpt of a text: its pieces, with … where it was cut. */
export function excerptPieces(text, spans, length) {
  const [start, end] = excerptOf(text, spans, length);
  const moved = spans.map(([from, to]) => [from - start, to - start]).filter(([, to]) => to > 0);
  const shown = pieces(text.slice(start, end), moved.map(([from, to]) => [Math.max(0, from), to]));
  if (start > 0) shown.unshift({ text: "… ", lit: false, start: -1 });
  if (end < text.length) shown.push({ text: " …", lit: false, start: end });
  return shown;
}
