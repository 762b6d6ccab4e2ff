// What every part of the page uses: preact's functions by name, and small pieces.

const { render, createContext } = globalThis.preact;
const { useState, useEffect, useLayoutEffect, useMemo, useRef, useCallback, useContext } = globalThis.preactHooks;
const html = globalThis.htm.bind(globalThis.preact.h);

export { html, render, createContext, useState, useEffect, useLayoutEffect, useMemo, useRef, useCallback, useContext };

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

/** The colour of a system or run: its class, and a letter, so that colour is never alone. */
export function tone(number) {
  return `tone-${number % 6}`;
}

/** Commands as they are typed, with a button that copies them. */
export function Commands({ lines, label }) {
  if (!lines?.length) return null;
  return html`<div class="commands">
    <pre tabindex="0" role="region" aria-label=${`Commands that make ${label} again`}><code>${lines.join("\n")}</code></pre>
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
  return html`<div class=${`wide ${className}`} tabindex="0" role="region" aria-label=${label}><table>${children}</table></div>`;
}
