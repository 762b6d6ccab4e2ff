// Line charts by uPlot, in the page's colours, as wide as there is room, with a key that tells values at the cursor.

import { decimalsOf } from "./numbers.mjs";
import { colour, onColours } from "./theme.mjs";
import { html, Swatch, tone, useLayoutEffect, useRef, useState } from "./ui.mjs";

const { uPlot } = globalThis;
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';

/**
 * lines: [{label, tone, y, low?, high?, points?, faint?}] over one `x`; null in y is a gap.
 * x and y axes: {label, log?, splits?, text?: (value, decimals) -> string}.
 * marks: [{x, tone, label}] are vertical lines of one meaning.
 */
export function LineChart({ title, x, lines, xAxis, yAxis, marks = [], height = 280 }) {
  const place = useRef(null);
  const [at, setAt] = useState(null);
  useLayoutEffect(() => {
    let chart;
    const draw = () => {
      chart?.destroy();
      const options = { ...sizeOf(place.current, height), ...optionsOf({ lines, xAxis, yAxis, marks, setAt }) };
      chart = new uPlot(options, dataOf(x, lines), place.current);
    };
    draw();
    const watcher = new ResizeObserver(() => chart.setSize(sizeOf(place.current, height)));
    watcher.observe(place.current);
    const end = onColours(draw);
    return () => {
      end();
      watcher.disconnect();
      chart.destroy();
    };
  }, [x, lines]);
  return html`<figure class="chart">
    <figcaption>${title}</figcaption>
    <${Key} title=${title} lines=${lines} marks=${marks} at=${at} step=${at !== null && x[at]} axes=${[xAxis, yAxis]} />
    <div class="plot" ref=${place} role="img"
      aria-label=${`${title}: chart; its figures are in the table below it`}></div>
  </figure>`;
}

function sizeOf(element, height) {
  return { width: Math.max(240, element.clientWidth), height };
}

/** What the lines are, and where the cursor is (`at`), their values there. */
function Key({ title, lines, marks, at, step, axes: [xAxis, yAxis] }) {
  const value = (line) => (at === null || typeof line.y[at] !== "number" ? "" : (yAxis.text ?? String)(line.y[at]));
  const kind = (line) => (line.points ? "dots" : line.faint ? "faint" : "");
  return html`<ul class="key" aria-label=${`Lines of ${title}`}>
    ${lines.map(
      (line) => html`<li class=${tone(line.tone)}>
        <${Swatch} kind=${kind(line)} />${line.label}<b>${value(line)}</b>
      </li>`,
    )}
    ${lines.some((line) => line.low) && html`<li class="quiet"><${Swatch} kind="band" />95 % interval</li>`}
    ${marks.length > 0 && html`<li class="quiet"><${Swatch} kind="dashed" />${marks[0].label}</li>`}
    ${at !== null && html`<li class="quiet">${xAxis.label} ${(xAxis.text ?? String)(step)}</li>`}
  </ul>`;
}

/** uPlot's columns: x, then of each line y and, where it has an interval, its ends. */
function dataOf(x, lines) {
  return [x, ...lines.flatMap((line) => (line.low ? [line.y, line.high, line.low] : [line.y]))];
}

function optionsOf({ lines, xAxis, yAxis, marks, setAt }) {
  const series = [{}];
  const bands = [];
  for (const line of lines) {
    const stroke = colour(`tone-${line.tone % 6}`);
    const faint = line.faint ? `${stroke}66` : stroke;
    const points = { show: Boolean(line.points), size: 6, fill: stroke };
    const dash = line.tone >= 6 ? [6, 4] : undefined; // colours begin anew
    series.push({ stroke: faint, width: line.points ? 1.5 : 2, spanGaps: true, points, dash });
    if (line.low) {
      bands.push({ series: [series.length, series.length + 1], fill: `${stroke}26` });
      series.push({ points: { show: false } }, { points: { show: false } });
    }
  }
  const grid = { stroke: colour("rule"), width: 1 };
  const axis = { stroke: colour("quiet"), font: FONT, labelFont: FONT, grid, ticks: { show: false } };
  const filter = (_, splits) => splits; // all of them: a logarithmic axis would leave some out
  return {
    series,
    bands,
    legend: { show: false },
    cursor: { y: false, drag: { x: !xAxis.log, y: false }, points: { size: 7 } },
    scales: { x: { time: false, distr: xAxis.log ? 3 : 1 }, y: { distr: yAxis.log ? 3 : 1 } },
    axes: [
      { ...axis, label: xAxis.label, labelSize: 20, size: 30, splits: xAxis.splits, filter, values: valuesOf(xAxis) },
      { ...axis, size: 58, values: valuesOf(yAxis) },
    ],
    hooks: {
      setCursor: [(chart) => setAt(chart.cursor.idx ?? null)],
      draw: [(chart) => marks.forEach((mark) => drawMark(chart, mark))],
    },
  };
}

function valuesOf(axis) {
  const text = (value, splits) => (value === null ? "" : axis.text(value, decimalsOf(splits)));
  return axis.text && ((_, splits) => splits.map((value) => text(value, splits)));
}

/** A dashed vertical line. */
function drawMark(chart, mark) {
  const { ctx, bbox } = chart;
  const at = chart.valToPos(mark.x, "x", true);
  if (at < bbox.left || at > bbox.left + bbox.width) return;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour(`tone-${mark.tone % 6}`);
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(at, bbox.top);
  ctx.lineTo(at, bbox.top + bbox.height);
  ctx.stroke();
  ctx.restore();
}
