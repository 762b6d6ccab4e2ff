// The bar over the list: search, filters with how many questions each lets through, systems, depth, order.

import { needsTwo } from "./filtering.mjs";
import { counted, letterOf } from "./numbers.mjs";
import { ORDERS } from "./ordering.mjs";
import { html, useMemo, useState } from "./ui.mjs";

export function FilterBar({ summary, columns, tests, state, choice, go, search, shown }) {
  const [wide, setWide] = useState(false);
  const { systems, measures } = summary;
  const two = systems.length > 1;
  const filters = (summary.filters ?? []).filter((filter) => two || !needsTwo(filter));
  const counts = useMemo(() => new Map([...tests].map(([id, test]) => [id, countOf(test, columns.rows)])), [tests]);
  const quietly = (changes) => go(changes, { quietly: true });
  const turn = (id) => quietly({ only: state.only.includes(id) ? state.only.filter((other) => other !== id) : [...state.only, id] });
  const typed = (event) => {
    if (event.key === "Escape") (event.target.value ? quietly({ q: "" }) : event.target.blur());
    if (event.key === "Enter") document.querySelector(".list").focus();
  };
  const contrast = ORDERS.find((order) => order.id === choice.order)?.two;
  return html`<form class=${`filter-bar ${wide ? "wide-open" : ""}`} role="search" aria-label="Questions" onSubmit=${(event) => event.preventDefault()}>
    <div class="line">
      <input type="search" ref=${search} value=${state.q} placeholder="Search questions, answers, ids" aria-label="Search questions, answers and ids" autocomplete="off" spellcheck=${false}
        onInput=${(event) => quietly({ q: event.target.value })} onKeyDown=${typed} />
      <output class="count" aria-live="polite">${shown === columns.rows ? counted(shown, "question") : `${counted(shown)} of ${counted(columns.rows, "question")}`}</output>
      <button type="button" class="more" aria-expanded=${wide} onClick=${() => setWide(!wide)}>Filters${state.only.length > 0 && ` (${state.only.length})`}</button>
      <div class="line folds selects">
        <${Select} label="A" name="System A" options=${namesOf(systems)} value=${choice.a} change=${(value) => quietly({ a: Number(value), b: Number(value) === choice.b ? choice.a : choice.b })} hidden=${!two} />
        <${Select} label="B" name="System B" options=${namesOf(systems)} value=${choice.b} change=${(value) => quietly({ b: Number(value), a: Number(value) === choice.a ? choice.b : choice.a })} hidden=${!two} />
        <${Select} label="k" name="Depth k" options=${(summary.depths ?? []).map((k) => [k, k])} value=${choice.k} change=${(value) => quietly({ k: Number(value) })} hidden=${!summary.rank} />
        <${Select} label="Order" name="Order of the questions" options=${ORDERS.filter((order) => two || !order.two).map(({ id, label }) => [id, label])} value=${choice.order} change=${(order) => quietly({ order })} />
        <${Select} label="of" name="Measure of the contrast" options=${[...(summary.rank ? [["", "1 / rank"]] : []), ...measures.map(({ id }) => [id, id])]} value=${measures[choice.measure]?.id ?? ""} change=${(value) => quietly({ measure: value || null })} hidden=${!contrast} />
      </div>
    </div>
    ${filters.length > 0 && html`<div class="line folds chips" role="group" aria-label="Filters">
      ${filters.map((filter) => html`<button type="button" class="chip" key=${filter.id} title=${filter.about} aria-pressed=${state.only.includes(filter.id)} onClick=${() => turn(filter.id)}>${labelOf(filter, choice)} <span class="n">${counted(counts.get(filter.id))}</span></button>`)}
      ${state.only.length > 0 && html`<button type="button" class="clear" onClick=${() => quietly({ only: [] })}>clear</button>`}
    </div>`}
  </form>`;
}

/** A filter's label with the chosen depth and systems in place of k, A and B. */
export function labelOf(filter, { a, b, k }) {
  if (["tag", "dataset", "words"].includes(filter.kind)) return filter.label;
  const names = { k: String(k), A: letterOf(a), B: letterOf(b) };
  return filter.label.replace(/\b[kAB]\b/g, (name) => names[name]);
}

function countOf(test, rows) {
  let count = 0;
  for (let row = 0; row < rows; row++) count += test(row);
  return count;
}

function namesOf(systems) {
  return systems.map(({ name }, number) => [number, `${letterOf(number)} ${name}`]);
}

function Select({ label, name, options, value, change, hidden }) {
  if (hidden || !options.length) return null;
  return html`<label class="select"><span>${label}</span> <select aria-label=${name} value=${value} onChange=${(event) => change(event.target.value)}>
    ${options.map(([id, text]) => html`<option value=${id} selected=${id === value}>${text}</option>`)}
  </select></label>`;
}
