// The bar over the list: search, filters with how many questions each lets through, systems, depth, order.

import { needsTwo } from "./filtering.mjs";
import { counted, letterOf } from "./numbers.mjs";
import { ofTwo, ORDERS } from "./ordering.mjs";
import { html, turned, useMemo, useState } from "./ui.mjs";

export function FilterBar({ summary, columns, tests, state, choice, go, search, shown }) {
  const [unfolded, setUnfolded] = useState(false);
  const change = (changes) => go(changes, { quietly: true });
  const total = counted(columns.rows, "question");
  return html`<form class=${`filter-bar ${unfolded ? "unfolded" : ""}`} role="search" aria-label="Questions"
      onSubmit=${(event) => event.preventDefault()}>
    <div class="line">
      <${SearchBox} search=${search} text=${state.q} change=${change} />
      <output class="count" aria-live="polite">
        ${shown === columns.rows ? total : `${counted(shown)} of ${total}`}
      </output>
      <button type="button" class="more" aria-expanded=${unfolded} onClick=${() => setUnfolded(!unfolded)}>
        Filters${state.only.length > 0 && ` (${state.only.length})`}
      </button>
      <${Selects} summary=${summary} choice=${choice} change=${change} />
    </div>
    <${Chips} summary=${summary} rows=${columns.rows} tests=${tests} only=${state.only}
      choice=${choice} change=${change} />
  </form>`;
}

function SearchBox({ search, text, change }) {
  const press = (event) => {
    if (event.key === "Escape") (text ? change({ q: "" }) : event.target.blur());
    if (event.key === "Enter") document.querySelector(".list").focus();
  };
  return html`<input type="search" ref=${search} value=${text} placeholder="Search questions, answers, ids"
    aria-label="Search questions, answers and ids" autocomplete="off" spellcheck=${false}
    onInput=${(event) => change({ q: event.target.value })} onKeyDown=${press} />`;
}

/** Systems, depth and order. Two systems that are chosen as one change places. */
function Selects({ summary, choice, change }) {
  const { systems, measures } = summary;
  const { a, b } = choice;
  const two = systems.length > 1;
  const names = systems.map(({ name }, number) => [number, `${letterOf(number)} ${name}`]);
  const orders = ORDERS.filter((order) => two || !order.two).map(({ id, label }) => [id, label]);
  const depths = (summary.depths ?? []).map((k) => [k, k]);
  const contrasts = [...(summary.rank ? [["", "1 / rank"]] : []), ...measures.map(({ id }) => [id, id])];
  const chooseA = (value) => change({ a: Number(value), b: Number(value) === b ? a : b });
  const chooseB = (value) => change({ b: Number(value), a: Number(value) === a ? b : a });
  return html`<div class="line folds selects">
    ${two && html`<${Select} label="A" name="System A" options=${names} value=${a} choose=${chooseA} />
      <${Select} label="B" name="System B" options=${names} value=${b} choose=${chooseB} />`}
    ${summary.rank && html`<${Select} label="k" name="Depth k" options=${depths} value=${choice.k}
      choose=${(value) => change({ k: Number(value) })} />`}
    <${Select} label="Order" name="Order of the questions" options=${orders} value=${choice.order}
      choose=${(order) => change({ order })} />
    ${ofTwo(choice.order) && html`<${Select} label="of" name="Measure of the contrast" options=${contrasts}
      value=${measures[choice.measure]?.id ?? ""} choose=${(value) => change({ measure: value || null })} />`}
  </div>`;
}

function Select({ label, name, options, value, choose }) {
  return html`<label class="select">
    <span>${label}</span>${" "}
    <select aria-label=${name} value=${value} onChange=${(event) => choose(event.target.value)}>
      ${options.map(([id, text]) => html`<option value=${id} selected=${id === value}>${text}</option>`)}
    </select>
  </label>`;
}

function Chips({ summary, rows, tests, only, choice, change }) {
  const filters = (summary.filters ?? []).filter((filter) => summary.systems.length > 1 || !needsTwo(filter));
  const counts = useMemo(() => new Map([...tests].map(([id, test]) => [id, countOf(test, rows)])), [tests]);
  if (!filters.length) return null;
  return html`<div class="line folds chips" role="group" aria-label="Filters">
    ${filters.map(
      (filter) => html`<button type="button" class="chip" key=${filter.id} title=${filter.about}
        aria-pressed=${only.includes(filter.id)} onClick=${() => change({ only: turned(only, filter.id) })}>
        ${labelOf(filter, choice)} <span class="n">${counted(counts.get(filter.id))}</span>
      </button>`,
    )}
    ${only.length > 0 && html`<button type="button" class="clear" onClick=${() => change({ only: [] })}>clear</button>`}
  </div>`;
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
