// The figures: what each system reached, how sure that is, what it costs, and what makes it again.

import { LineChart } from "./chart.mjs";
import { FiguresTable } from "./figures_table.mjs";
import { counted, letterOf, share } from "./numbers.mjs";
import { Notes, Sources } from "./sources.mjs";
import { Tuning } from "./tuning.mjs";
import { Commands, Facts, html, tone, useMemo, useState, WideTable } from "./ui.mjs";

export function Overview({ summary }) {
  const { systems = [], curves = [], tuning = [], audits = [] } = summary;
  return html`
    <p class="lead">${leadOf(summary)}</p>
    ${systems.length > 0 && html`<${FiguresTable} systems=${systems} measures=${summary.measures ?? []} />`}
    ${curves.length > 0 && html`<${Curves} curves=${curves} systems=${systems} />`}
    ${tuning.map((table) => html`<${Tuning} table=${table} key=${table.name} />`)}
    ${audits.map((audit) => html`<section><h2>${audit.name}</h2><${Facts} rows=${audit.figures} /><${Commands} lines=${audit.command} label=${audit.name} /><${Sources} rows=${audit.provenance} /></section>`)}
    ${systems.length > 0 && html`<section><h2>How each was made</h2>${systems.map((system, number) => html`<${Made} system=${system} number=${number} />`)}</section>`}
    <footer class="quiet">
      <p>Made by dprkit ${summary.version} on ${summary.made}.</p>
      ${summary.command && html`<${Commands} lines=${[summary.command]} label="this report" />`}
    </footer>
  `;
}

function leadOf({ systems = [], questions, passages, runs = [] }) {
  const parts = [];
  if (systems.length) parts.push(counted(systems.length, "system"));
  if (questions?.count) parts.push(counted(questions.count, "question"));
  if (passages?.count) parts.push(`${counted(passages.texts, "passage")} to read`);
  if (runs.length) parts.push(counted(runs.length, "training"));
  return parts.join(" · ");
}

function Curves({ curves, systems }) {
  const [chosen, choose] = useState(0);
  const curve = curves[chosen];
  const lines = useMemo(
    () =>
      curve.systems.flatMap((line, number) =>
        line ? [{ label: `${letterOf(number)} ${systems[number].name}`, tone: number, y: line.values, low: line.low, high: line.high }] : [],
      ),
    [curve],
  );
  const splits = () => curve.k.filter((k) => [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000].includes(k));
  return html`<section>
    <div class="heading">
      <h2>Over the depth of the ranking</h2>
      ${curves.length > 1 && html`<${Choice} label="Curve" options=${curves.map((other) => other.label)} chosen=${chosen} choose=${choose} />`}
    </div>
    <p class="quiet">The ${curve.about}.</p>
    <${LineChart} title=${curve.label} x=${curve.k} lines=${lines} xAxis=${{ label: "k", log: true, splits }} yAxis=${{ text: share }} />
    <details><summary>The figures of this chart</summary>
      <${WideTable} label=${`Figures of ${curve.label}`}>
        <thead><tr><th scope="col">k</th>${lines.map((line) => html`<th scope="col">${line.label}</th>`)}</tr></thead>
        <tbody>${curve.k.map((k, row) => html`<tr><th scope="row">${k}</th>${lines.map((line) => html`<td>${share(line.y[row])} <span class="quiet">${share(line.low?.[row], 3)} – ${share(line.high?.[row], 3)}</span></td>`)}</tr>`)}</tbody>
      <//>
    </details>
  </section>`;
}

/** A choice of few: buttons of which one is pressed. */
function Choice({ label, options, chosen, choose }) {
  return html`<div class="choice" role="group" aria-label=${label}>
    ${options.map((option, number) => html`<button type="button" aria-pressed=${number === chosen} onClick=${() => choose(number)}>${option}</button>`)}
  </div>`;
}

function Made({ system, number }) {
  return html`<article class="made">
    <h3><b class=${`letter ${tone(number)}`}>${letterOf(number)}</b> ${system.name}</h3>
    <${Notes} notes=${system.notes} />
    <${Commands} lines=${system.command} label=${system.name} />
    <${Sources} rows=${system.provenance} />
  </article>`;
}
