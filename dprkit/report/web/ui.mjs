// What every part of the page uses: preact's functions by name, and small pieces.

import { letterOf } from "./numbers.mjs";

const { render } = globalThis.preact;
const { useState, useEffect, useLayoutEffect, useMemo, useRef, useCallback } = globalThis.preactHooks;
const html = globalThis.htm.bind(globalThis.preact.h);

export { html, render, useState, useEffect, useLayoutEffect, useMemo, useRef, useCallback };

/** What a promise gives: {value}, {error}, or {} while it is awaited. `ask` is called anew when `keys` change. */
export function useAwaited(ask, keys) {
  const [state, setState] = useState({});
  useEffect(() => {
    let wanted = true;
    setState({});
    ask().then(
      (value) => wanted && setState({ value }),
      (error) => wanted && setState({ error }),
    );
    return () => (wanted = false);
  }, keys);
  return state;
}

/** The class that gives the colour of a system, run or group; undefined is none of them. */
export function tone(number) {
  return number === undefined ? "tone-none" : `tone-${number % 6}`;
}

/** The letter that stands for a system, on its colour. */
export function Letter({ number }) {
  return html`<b class=${`letter ${tone(number)}`}>${letterOf(number)}</b>`;
}

/** A mark in the colour of its surroundings' tone: a line, or "dots", "faint", "band", "dashed". */
export function Swatch({ kind = "" }) {
  return html`<i class=${`swatch ${kind}`} aria-hidden="true"></i>`;
}

/** Buttons that are pressed or not: options [{id, label, pressed, tone?}]. */
export function Choice({ label: name, options, turn, className = "" }) {
  return html`<div class=${`choice ${className}`} role="group" aria-label=${name}>
    ${options.map(
      ({ id, label, pressed, tone: colour }) => html`
        <button type="button" class=${colour ?? ""} aria-pressed=${pressed} onClick=${() => turn(id)}>
          ${colour && html`<${Swatch} />`}${label}
        </button>`,
    )}
  </div>`;
}

/** A list without one of its values, or with it. */
export function turned(list, value) {
  return list.includes(value) ? list.filter((other) => other !== value) : [...list, value];
}

/** Commands as they are typed, with a button that copies them. */
export function Commands({ lines, label }) {
  if (!lines?.length) return null;
  return html`<div class="commands">
    <pre tabindex="0" role="region" aria-label=${`Commands that make ${label} again`}>
      <code>${lines.join("\n")}</code>
    </pre>
    <${CopyButton} text=${lines.join("\n")} label=${label} />
  </div>`;
}

function CopyButton({ text, label }) {
  const [said, say] = useState("");
  const copy = async () => {
    say((await copied(text)) ? "Copied" : "Select and copy by hand");
    setTimeout(() => say(""), 2000);
  };
  return html`<button type="button" class="copy" onClick=${copy} aria-label=${`Copy the commands of ${label}`}>
    <span aria-live="polite">${said || "Copy"}</span>
  </button>`;
}

/** Whether the text is on the clipboard. Older browsers copy only what is selected. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = Object.assign(document.createElement("textarea"), { value: text, className: "offscreen" });
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

/** [[label, value], …] as a list of terms. */
export function Facts({ rows }) {
  if (!rows?.length) return null;
  return html`<dl class="facts">
    ${rows.map(([label, value]) => html`<div><dt>${label}</dt><dd>${String(value)}</dd></div>`)}
  </dl>`;
}

/** A table that scrolls sideways on its own, and by keyboard. */
export function WideTable({ label, children, className = "" }) {
  return html`<div class=${`wide ${className}`} tabindex="0" role="region" aria-label=${label}>
    <table>${children}</table>
  </div>`;
}
