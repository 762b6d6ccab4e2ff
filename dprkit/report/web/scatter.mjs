// A scatter plot as SVG: groups of points joined by a line, the x axis logarithmic. Each point tells its figures.

import { decimalsOf } from "./numbers.mjs";
import { html, tone, useLayoutEffect, useRef, useState } from "./ui.mjs";

const EDGE = { left: 52, right: 16, top: 12, bottom: 40 };

/** Places between low and high that are 1, 2 or 5 times a power of ten; fewer where there are many. */
export function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const step of [1, 2, 5]) ticks.push(step * 10 ** power);
  }
  const inside = ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001).map((tick) => Number(tick.toPrecision(1)));
  const tens = inside.filter((tick) => /^10*$|^0\.0*1$/.test(String(tick)));
  return inside.length > 7 && tens.length > 1 ? tens : inside;
}

/** Round places between low and high, some five of them. */
export function evenTicks(low, high, wanted = 5) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((times) => times * power >= rough) * power;
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) ticks.push(Number((n * step).toPrecision(12)));
  return ticks;
}

/** groups: [{label, tone, points: [{x, y, title, marked}]}]. */
export function Scatter({ title, groups, xLabel, yLabel, xText, yText, height = 280 }) {
  const place = useRef(null);
  const [width, setWidth] = useState(480);
  useLayoutEffect(() => {
    const watcher = new ResizeObserver(() => setWidth(Math.max(260, place.current.clientWidth)));
    watcher.observe(place.current);
    return () => watcher.disconnect();
  }, []);
  const all = groups.flatMap((group) => group.points);
  const [xs, ys] = [all.map((point) => point.x), all.map((point) => point.y)];
  const [left, right] = [Math.min(...xs) / 1.3, Math.max(...xs) * 1.3];
  const room = (Math.max(...ys) - Math.min(...ys)) * 0.06 || 0.01;
  const [low, high] = [Math.min(...ys) - room, Math.max(...ys) + room];
  const x = (value) => EDGE.left + (Math.log(value / left) / Math.log(right / left)) * (width - EDGE.left - EDGE.right);
  const y = (value) => height - EDGE.bottom - ((value - low) / (high - low)) * (height - EDGE.top - EDGE.bottom);
  const heights = evenTicks(low, high);
  return html`<figure class="chart">
    <figcaption>${title}</figcaption>
    <ul class="key" aria-label=${`Groups of ${title}`}>
      ${groups.map((group) => html`<li class=${tone(group.tone)}><i class="swatch dots" aria-hidden="true"></i>${group.label}</li>`)}
    </ul>
    <div ref=${place} class="plot">
      <svg width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${`${title}: chart; its figures are in the table below it`}>
        ${heights.map((tick) => html`<g class="tick"><line x1=${EDGE.left} x2=${width - EDGE.right} y1=${y(tick)} y2=${y(tick)} /><text x=${EDGE.left - 8} y=${y(tick) + 4} text-anchor="end">${yText(tick, decimalsOf(heights))}</text></g>`)}
        ${logTicks(left, right).map((tick) => html`<g class="tick"><line x1=${x(tick)} x2=${x(tick)} y1=${EDGE.top} y2=${height - EDGE.bottom} /><text x=${x(tick)} y=${height - EDGE.bottom + 18} text-anchor="middle">${xText(tick)}</text></g>`)}
        <text class="label" x=${(EDGE.left + width - EDGE.right) / 2} y=${height - 4} text-anchor="middle">${xLabel}</text>
        <text class="label" x=${-(EDGE.top + height - EDGE.bottom) / 2} y="12" transform="rotate(-90)" text-anchor="middle">${yLabel}</text>
        ${groups.map((group) => html`<g class=${`dots ${tone(group.tone)}`}>
          <polyline points=${group.points.map((point) => `${x(point.x)},${y(point.y)}`).join(" ")} />
          ${group.points.map((point) => html`<circle class=${point.marked ? "marked" : ""} cx=${x(point.x)} cy=${y(point.y)} r=${point.marked ? 6 : 4}><title>${point.title}</title></circle>`)}
        </g>`)}
      </svg>
    </div>
  </figure>`;
}
