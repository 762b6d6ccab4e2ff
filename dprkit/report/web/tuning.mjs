// Quality against latency and bytes, from tune-index.

import { isNumber, share, short } from "./numbers.mjs";
import { Scatter } from "./scatter.mjs";
import { Made } from "./sources.mjs";
import { html, useMemo, WideTable } from "./ui.mjs";

const FEW = 12;

/** Points by the name of their type, as groups of a scatter plot over the field `by`. */
export function groupsOf(points, by, text) {
  const groups = new Map();
  for (const point of points) {
    if (!isNumber(point[by]) || point[by] <= 0 || !isNumber(point.quality)) continue;
    const remark = point.recommended ? " (recommended)" : "";
    const title = `${point.name} ${point.depth}: ${share(point.quality)} at ${text(point[by])}${remark}`;
    const place = { x: point[by], y: point.quality, title, marked: point.recommended };
    if (!groups.has(point.name)) groups.set(point.name, []);
    groups.get(point.name).push(place);
  }
  const rising = (p, q) => p.x - q.x || p.y - q.y;
  return [...groups].map(([label, found], number) => ({ label, tone: number, points: found.sort(rising) }));
}

const AXES = [
  {
    by: "p50_ms",
    title: "Quality against latency",
    label: "median milliseconds a question",
    text: (ms) => `${short(ms)} ms`,
  },
  {
    by: "bytes_per_passage",
    title: "Quality against size",
    label: "bytes a passage",
    text: (bytes) => `${short(bytes)} B`,
  },
];

export function Tuning({ table }) {
  const charts = useMemo(
    () => AXES.map((axis) => ({ ...axis, groups: groupsOf(table.points, axis.by, axis.text) })),
    [table],
  );
  const target = isNumber(table.target) ? ` for ${share(table.target, 2)}` : "";
  const quality = table.quality === "recall" ? "recall against exact search" : table.quality;
  return html`<section>
    <h2>Quality against cost</h2>
    <p class="quiet">
      Quality is ${quality}; a ring marks what dprkit recommends${target}. Both axes of cost are logarithmic.
    </p>
    <div class="pair">
      ${charts.map(
        ({ title, groups, label }) => groups.length > 0 && html`<${Scatter} title=${title} groups=${groups}
          xLabel=${label} yLabel=${table.quality} xText=${short} yText=${share} />`,
      )}
    </div>
    <details open=${table.points.length <= FEW}>
      <summary>All ${table.points.length} points</summary>
      <${PointsTable} table=${table} />
    </details>
    <${Made} of=${table} />
  </section>`;
}

const COLUMNS = [
  ["quality", "quality", share],
  ["p50_ms", "median ms", short],
  ["p95_ms", "95 % ms", short],
  ["per_second", "questions/s", short],
  ["bytes_per_passage", "bytes a passage", short],
  ["memory", "memory", (bytes) => `${short(bytes)}B`],
  ["build_seconds", "build s", short],
];

function PointsTable({ table }) {
  const columns = COLUMNS.filter(([field]) => table.points.some((point) => isNumber(point[field])));
  return html`<${WideTable} label=${`Points of ${table.name}`}>
    <thead><tr>
      ${["type", "depth", ...columns.map(([, label]) => label)].map((label) => html`<th scope="col">${label}</th>`)}
    </tr></thead>
    <tbody>${table.points.map(
      (point) => html`<tr class=${point.recommended ? "recommended" : ""}>
        <th scope="row">${point.name}${point.recommended && html` <span class="badge">recommended</span>`}</th>
        <td>${point.depth}</td>
        ${columns.map(([field, , text]) => html`<td>${text(point[field])}</td>`)}
      </tr>`,
    )}</tbody>
  <//>`;
}
