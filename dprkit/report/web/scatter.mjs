// A scatter plot as SVG: groups of points joined by a line, the x axis logarithmic. Each point tells its figures.

import { decimalsOf } from "./numbers.mjs";
import { html, Swatch, tone, useLayoutEffect, useRef, useState } from "./ui.mjs";

const EDGE = { left: 52, right: 16, top: 12, bottom: 40 };

/** Places between low and high that are 1, 2 or 5 times a power of ten; fewer where there are many. */
export function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const step of [1, 2, 5]) ticks.push(step * 10 ** power);
  }
  const isInside = (tick) => tick >= low * 0.999 && tick <= high * 1.001;
  const inside = ticks.filter(isInside).map((tick) => Number(tick.toPrecision(1)));
  const tens = inside.filter((tick) => /^10*$|^0\.0*1$/.test(String(tick)));
  return inside.length > 7 && tens.length > 1 ? tens : inside;
}

/** Round places between low and high, some five of them. */
export function evenTicks(low, high, wanted = 5) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((times) => times * power >= rough) * power;
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) {
    ticks.push(Number((n * step).toPrecision(12)));
  }
  return ticks;
}

/** groups: [{label, tone?, joined?, points: [{x, y, title, marked}]}]; one without a tone is in the background. */
export function Scatter({ title, groups, xLabel, yLabel, xText, yText, height = 280 }) {
  const place = useRef(null);
  const [width, setWidth] = useState(480);
  useLayoutEffect(() => {
    const watcher = new ResizeObserver(() => setWidth(Math.max(260, place.current.clientWidth)));
    watcher.observe(place.current);
    return () => watcher.disconnect();
  }, []);
  const axes = axesOf(groups, width, height);
  return html`<figure class="chart">
    <figcaption>${title}</figcaption>
    <ul class="key" aria-label=${`Groups of ${title}`}>
      ${groups.map((group) => {
        const isLine = group.joined && group.tone === undefined;
        return html`<li class=${tone(group.tone)}><${Swatch} kind=${isLine ? "" : "dots"} />${group.label}</li>`;
      })}
    </ul>
    <div ref=${place} class="plot">
      <svg width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`}
        role="img" aria-label=${`${title}: chart; its figures are in the table below it`}>
        <${Grid} axes=${axes} xText=${xText} yText=${yText} />
        <text class="label" x=${(EDGE.left + axes.right) / 2} y=${height - 4} text-anchor="middle">${xLabel}</text>
        <text class="label" x=${-(EDGE.top + axes.bottom) / 2} y="12" transform="rotate(-90)" text-anchor="middle">
          ${yLabel}
        </text>
        ${groups.map((group) => html`<${Dots} group=${group} axes=${axes} />`)}
      </svg>
    </div>
  </figure>`;
}

/** Where values lie in the drawing, x(value) and y(value), and which of them have a line of the grid. */
function axesOf(groups, width, height) {
  const points = groups.flatMap((group) => group.points);
  const ends = (values) => [Math.min(...values), Math.max(...values)];
  const [least, most] = ends(points.map((point) => point.x));
  const [worst, best] = ends(points.map((point) => point.y));
  const room = (best - worst) * 0.06 || 0.01;
  const [first, last, low, high] = [least / 1.3, most * 1.3, worst - room, best + room];
  const [right, bottom] = [width - EDGE.right, height - EDGE.bottom];
  return {
    right,
    bottom,
    x: (value) => EDGE.left + (Math.log(value / first) / Math.log(last / first)) * (right - EDGE.left),
    y: (value) => bottom - ((value - low) / (high - low)) * (bottom - EDGE.top),
    columns: logTicks(first, last),
    rows: evenTicks(low, high),
  };
}

function Grid({ axes: { x, y, right, bottom, columns, rows }, xText, yText }) {
  const decimals = decimalsOf(rows);
  return html`<g class="tick">
    ${rows.map(
      (tick) => html`<line x1=${EDGE.left} x2=${right} y1=${y(tick)} y2=${y(tick)} />
        <text x=${EDGE.left - 8} y=${y(tick) + 4} text-anchor="end">${yText(tick, decimals)}</text>`,
    )}
    ${columns.map(
      (tick) => html`<line x1=${x(tick)} x2=${x(tick)} y1=${EDGE.top} y2=${bottom} />
        <text x=${x(tick)} y=${bottom + 18} text-anchor="middle">${xText(tick)}</text>`,
    )}
  </g>`;
}

function Dots({ group, axes: { x, y } }) {
  return html`<g class=${`dots ${tone(group.tone)}`}>
    ${group.joined && html`<polyline points=${group.points.map((point) => `${x(point.x)},${y(point.y)}`).join(" ")} />`}
    ${group.points.map(
      ({ x: cost, y: quality, title, marked }) => html`
        <circle class=${marked ? "marked" : ""} cx=${x(cost)} cy=${y(quality)} r=${marked ? 6 : 4}>
          <title>${title}</title>
        </circle>`,
    )}
  </g>`;
}
