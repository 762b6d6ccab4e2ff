// The table of figures: a row for each measure and depth, a column for each system.

import { counted, interval, isNumber, share } from "./numbers.mjs";
import { html, Letter, tone, WideTable } from "./ui.mjs";

const NAMES = {
  answer_recall: "Answer recall", answer_mrr: "Answer MRR", passage_recall: "Passage recall",
  passage_success: "Passage success", mrr: "MRR of gold passages", AP: "Average precision", R: "Recall", P: "Precision",
};

const COMPARED = "The largest of a row is bold; whether a difference is more than chance, dprkit compare tells.";

/** [{name, depths}] of all measures that any system has, in the order of the summary's. */
export function measureRows(systems, measures) {
  const rows = new Map();
  const add = (name, depth) => rows.set(name, (rows.get(name) ?? new Set()).add(depth));
  for (const { name, depth } of measures) add(name, String(depth ?? ""));
  for (const system of systems) {
    for (const [name, depths] of Object.entries(system.metrics)) {
      Object.keys(depths).forEach((depth) => add(name, depth));
    }
  }
  return [...rows].map(([name, depths]) => ({ name, depths: [...depths].sort((x, y) => x - y) }));
}

/** What qualifies a number: questions that are missing, unjudged, or decided by the order of equal scores. */
export function remarksOf(system, name, depth) {
  const said = [["missing", "missing, counted as 0"], ["unjudged", "unjudged, left out"], ["tied", "tied at the cut"]];
  return said.flatMap(([key, words]) => {
    const count = system[key]?.[name]?.[depth];
    return count ? [`${counted(count)} ${words}`] : [];
  });
}

export function FiguresTable({ systems, measures }) {
  return html`<section>
    <h2>Figures</h2>
    <${WideTable} label="Figures of all systems" className="figures">
      <thead><tr>
        <th scope="col" class="measure">Measure</th>
        ${systems.map((system, number) => html`<th scope="col"><${Letter} number=${number} /> ${system.name}</th>`)}
      </tr></thead>
      ${measureRows(systems, measures).map(
        ({ name, depths }) => html`<${MeasureRows} systems=${systems} name=${name} depths=${depths} />`,
      )}
    <//>
    <p class="quiet below">
      Shares and means over questions, with 95 % intervals; n is how many questions count. A dash is a figure that is
      undefined. ${systems.length > 1 && COMPARED}
    </p>
  </section>`;
}

function MeasureRows({ systems, name, depths }) {
  const alone = depths.length === 1;
  const label = NAMES[name] ?? name;
  return html`<tbody>
    ${!alone && html`<tr class="group">
      <th scope="rowgroup" colspan=${systems.length + 1}>${label} ${label !== name && html`<code>${name}</code>`}</th>
    </tr>`}
    ${depths.map((depth) => {
      const values = systems.map((system) => system.metrics[name]?.[depth]);
      const best = bestOf(values);
      return html`<tr class=${alone ? "alone" : ""}>
        <th scope="row" class="measure">
          ${alone && `${label} `}${depth && html`<span class="depth">@${depth}</span>`}
        </th>
        ${systems.map((system, number) => {
          const isBest = best !== undefined && values[number] === best;
          return html`<${Figure} system=${system} name=${name} depth=${depth} number=${number} best=${isBest} />`;
        })}
      </tr>`;
    })}
  </tbody>`;
}

/** The largest of some values, where they differ. */
export function bestOf(values) {
  const known = values.filter(isNumber);
  const best = Math.max(...known);
  return known.some((value) => value < best) ? best : undefined;
}

function Figure({ system, name, depth, number, best }) {
  const value = system.metrics[name]?.[depth];
  if (value === undefined) return html`<td class="none"><span class="quiet">not measured</span></td>`;
  const ends = system.intervals?.[name]?.[depth];
  const remarks = remarksOf(system, name, depth);
  const count = system.counts?.[name];
  return html`<td class=${tone(number)}>
    <span class=${best ? "value best" : "value"}>${share(value)}</span>
    <${Bar} value=${value} ends=${ends} />
    <span class="small">
      ${ends && html`<span class="ends">${interval(ends)}</span>`}
      ${count !== undefined && html`<span>n ${counted(count)}</span>`}
    </span>
    ${remarks.map((remark) => html`<span class="small remark">${remark}</span>`)}
  </td>`;
}

/** A bar from 0 to the value, with the interval as a darker end. Only shares have one. */
function Bar({ value, ends }) {
  if (!isNumber(value) || value < 0 || value > 1) return null;
  const at = (part) => `${(100 * part).toFixed(2)}%`;
  return html`<span class="track" aria-hidden="true">
    <i style=${{ width: at(value) }}></i>
    ${ends?.every(isNumber) && html`<u style=${{ left: at(ends[0]), width: at(ends[1] - ends[0]) }}></u>`}
  </span>`;
}
