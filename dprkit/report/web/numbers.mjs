// Numbers as people read them.

const COUNT = new Intl.NumberFormat("en");

/** 12345 -> 12,345 */
export function counted(number, noun = "", nouns = `${noun}s`) {
  return COUNT.format(number) + (noun && ` ${number === 1 ? noun : nouns}`);
}

/** A share or measure: four decimals, as the terminal shows it; nothing is a dash. */
export function share(value, digits = 4) {
  return isNumber(value) ? value.toFixed(digits) : "–";
}

/** Decimals, two or more, that tell the values of an axis apart. */
export function decimalsOf(ticks) {
  const steps = ticks.slice(1).map((tick, at) => Math.abs(tick - ticks[at])).filter((step) => step > 0);
  return steps.length ? Math.max(2, Math.ceil(-Math.log10(Math.min(...steps)) - 1e-9)) : 2;
}

export function interval(ends) {
  return ends && ends.every(isNumber) ? `${share(ends[0], 3)} – ${share(ends[1], 3)}` : "";
}

/** A difference with its sign, the minus as typesetters set it. */
export function signed(value, digits = 3) {
  if (!isNumber(value)) return "–";
  return (value < 0 ? "−" : value > 0 ? "+" : "±") + Math.abs(value).toFixed(digits);
}

/** Three digits: 1.53 k, 302 M. */
export function short(value) {
  if (!isNumber(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e12) return value.toExponential(1);
  const [unit, letter] = [[1e9, " G"], [1e6, " M"], [1e3, " k"], [1, ""]].find(([least]) => size >= least) ?? [1, ""];
  return String(Number((value / unit).toPrecision(3))) + letter;
}

/** A passage's score: five digits, as many as float32 tells apart in a ranking. */
export function scoreText(value) {
  return isNumber(value) ? String(Number(value.toPrecision(5))) : "–";
}

/** A rank: 0 is not found, 65535 unknown. */
export function rankText(rank) {
  return rank === 65535 || rank === undefined ? "?" : rank === 0 ? "–" : String(rank);
}

/** The same for a screen reader. */
export function rankWords(rank) {
  return rank === 65535 || rank === undefined ? "not judged" : rank === 0 ? "not found" : `rank ${rank}`;
}

export function letterOf(system) {
  return String.fromCharCode(65 + (system % 26));
}

export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}
