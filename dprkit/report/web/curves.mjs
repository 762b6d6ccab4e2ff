// Recall over the depth of the ranking, with its intervals: a chart, and the same figures as a table.

import { LineChart } from "./chart.mjs";
import { letterOf, share } from "./numbers.mjs";
import { Choice, html, useMemo, useState, WideTable } from "./ui.mjs";

const TICKS = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000];

export function Curves({ curves, systems }) {
  const [chosen, choose] = useState(curves[0].id);
  const curve = curves.find(({ id }) => id === chosen);
  const lines = useMemo(() => linesOf(curve, systems), [curve]);
  const options = curves.map(({ id, label }) => ({ id, label, pressed: id === chosen }));
  const splits = () => curve.k.filter((k) => TICKS.includes(k));
  return html`<section>
    <div class="heading">
      <h2>Over the depth of the ranking</h2>
      ${curves.length > 1 && html`<${Choice} label="Curve" options=${options} turn=${choose} />`}
    </div>
    <p class="quiet">The ${curve.about}.</p>
    <${LineChart} title=${curve.label} x=${curve.k} lines=${lines}
      xAxis=${{ label: "k", log: true, splits }} yAxis=${{ text: share }} />
    <details>
      <summary>The figures of this chart</summary>
      <${CurveTable} curve=${curve} lines=${lines} />
    </details>
  </section>`;
}

function linesOf(curve, systems) {
  return curve.systems.flatMap((line, number) => {
    if (!line) return [];
    const label = `${letterOf(number)} ${systems[number].name}`;
    return [{ label, tone: number, y: line.values, low: line.low, high: line.high }];
  });
}

function CurveTable({ curve, lines }) {
  const cell = (line, row) => html`<td>
    ${share(line.y[row])}${" "}
    <span class="quiet">${share(line.low?.[row], 3)} – ${share(line.high?.[row], 3)}</span>
  </td>`;
  return html`<${WideTable} label=${`Figures of ${curve.label}`}>
    <thead><tr><th scope="col">k</th>${lines.map((line) => html`<th scope="col">${line.label}</th>`)}</tr></thead>
    <tbody>
      ${curve.k.map((k, row) => html`<tr><th scope="row">${k}</th>${lines.map((line) => cell(line, row))}</tr>`)}
    </tbody>
  <//>`;
}
