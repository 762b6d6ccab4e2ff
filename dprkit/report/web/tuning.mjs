// Quality against latency and bytes, from tune-index.

import { isNumber, share, short } from "./numbers.mjs";
import { Scatter } from "./scatter.mjs";
import { Made } from "./sources.mjs";
import { html, useMemo, WideTable } from "./ui.mjs";

const FEW = 12; // points whose table is open
const TONES = 6;

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
  const all = [...groups].map(([label, found]) => ({ label, points: found.sort((p, q) => p.x - q.x || p.y - q.y) }));
  return coloured(all);
}

/** The points that no other one beats: none is as cheap and better, or as good and cheaper. */
export function frontierOf(points) {
  const beats = (p, q) => p.x <= q.x && p.y >= q.y && (p.x < q.x || p.y > q.y);
  return points.filter((point) => !points.some((other) => beats(other, point)));
}

/**
 * Groups with colours, the points of each joined. Of too many groups, those with most points on the frontier get a
 * colour, the others are one group, and what is joined is the frontier.
 */
function coloured(groups) {
  if (groups.length <= TONES) return groups.map((group, tone) => ({ ...group, tone, joined: true }));
  const frontier = frontierOf(groups.flatMap((group) => group.points)).sort((p, q) => p.x - q.x);
  const onIt = ({ points }) => points.filter((point) => frontier.includes(point)).length;
  const best = groups.filter(onIt).sort((g, h) => onIt(h) - onIt(g)).slice(0, TONES);
  const others = groups.filter((group) => !best.includes(group));
  return [
    { label: `${others.length} other types`, points: others.flatMap((group) => group.points) },
    { label: "nothing is better and as cheap", points: frontier, joined: true },
    ...best.map((group, tone) => ({ ...group, tone })),
  ];
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
