// The training view: a chart for each group of curves, all runs in each.

import { LineChart } from "./chart.mjs";
import { counted, isNumber, short } from "./numbers.mjs";
import { commonSteps, firstLabels, groupsOfRuns, smoothed, valuesAt } from "./series.mjs";
import { Notes, Sources } from "./sources.mjs";
import { Commands, html, tone, useMemo, useState, WideTable } from "./ui.mjs";

const TITLES = { loss: "Loss", accuracy: "Accuracy", rank: "Average rank", lr: "Learning rate", throughput: "Throughput" };
const ROWS = 20; // of a chart's table: the validations, or as many steps, evenly

export function Training({ runs }) {
  const [hidden, setHidden] = useState([]);
  const [weight, setWeight] = useState(0);
  const groups = useMemo(() => groupsOfRuns(runs), [runs]);
  const turn = (number) => setHidden(hidden.includes(number) ? hidden.filter((other) => other !== number) : [...hidden, number]);
  return html`
    <div class="heading">
      <h2>Training</h2>
      <div class="choice runs" role="group" aria-label="Runs that are shown">
        ${runs.map((run, number) => html`<button type="button" class=${tone(number)} aria-pressed=${!hidden.includes(number)} onClick=${() => turn(number)}><i class="swatch" aria-hidden="true"></i>${run.name}</button>`)}
      </div>
      <label class="slider">smoothing <input type="range" min="0" max="0.98" step="0.02" value=${weight} onInput=${(event) => setWeight(Number(event.target.value))} /></label>
    </div>
    <${RunsTable} runs=${runs} />
    <div class="charts">
      ${groups.map(({ group, series }) => html`<${GroupChart} key=${group} group=${group} series=${series} runs=${runs} hidden=${hidden} weight=${weight} />`)}
    </div>
    <section><h2>How each was made</h2>
      ${runs.map((run, number) => html`<article class="made"><h3 class=${tone(number)}><i class="swatch" aria-hidden="true"></i>${run.name}</h3><${Notes} notes=${run.notes} /><${Commands} lines=${run.command} label=${run.name} /><${Sources} rows=${run.provenance} /></article>`)}
    </section>`;
}

function GroupChart({ group, series, runs, hidden, weight }) {
  const labels = useMemo(() => [...new Set(series.map((line) => line.label))], [series]);
  const [chosen, choose] = useState(() => firstLabels(series, runs[0].best));
  const shown = useMemo(() => series.filter((line) => !hidden.includes(line.run) && chosen.includes(line.label)), [series, hidden, chosen]);
  const steps = useMemo(() => commonSteps(shown), [shown]);
  const lines = useMemo(() => shown.map((line) => lineOf(line, steps, runs, weight)), [shown, steps, weight]);
  const marks = runs.flatMap((run, number) => (isNumber(run.best_step) && !hidden.includes(number) ? [{ x: run.best_step, tone: number, label: "best step" }] : []));
  const unit = series[0].unit;
  const title = `${TITLES[group] ?? group}${unit ? `, ${unit}` : ""}`;
  const turn = (label) => choose(chosen.includes(label) ? chosen.filter((other) => other !== label) : [...chosen, label]);
  return html`<section>
    <${LineChart} title=${title} x=${steps} lines=${lines} marks=${marks} xAxis=${{ label: "step", text: (step) => counted(step) }} yAxis=${{ text: short }} height=${240} />
    ${labels.length > 2 && html`<div class="choice curves" role="group" aria-label=${`Curves of ${title}`}>
      ${labels.map((label) => html`<button type="button" aria-pressed=${chosen.includes(label)} onClick=${() => turn(label)}>${label}</button>`)}
    </div>`}
    <details><summary>The figures of this chart</summary><${ChartTable} title=${title} steps=${steps} lines=${lines} /></details>
  </section>`;
}

function lineOf(line, steps, runs, weight) {
  const values = valuesAt(steps, line);
  const label = runs.length > 1 ? `${runs[line.run].name}: ${line.label}` : line.label;
  const points = line.kind === "valid";
  return { label, tone: line.run, points, faint: !points, y: points ? values : smoothed(values, weight) };
}

function ChartTable({ title, steps, lines }) {
  const valid = steps.map((_, at) => at).filter((at) => lines.some((line) => line.points && line.y[at] !== null));
  const every = Math.max(1, Math.ceil(steps.length / ROWS));
  const rows = valid.length ? valid : steps.map((_, at) => at).filter((at) => at % every === 0 || at === steps.length - 1);
  return html`<${WideTable} label=${`Figures of ${title}`}>
    <thead><tr><th scope="col">step</th>${lines.map((line) => html`<th scope="col">${line.label}</th>`)}</tr></thead>
    <tbody>${rows.map((at) => html`<tr><th scope="row">${counted(steps[at])}</th>${lines.map((line) => html`<td>${short(line.y[at])}</td>`)}</tr>`)}</tbody>
  <//>`;
}

function RunsTable({ runs }) {
  return html`<${WideTable} label="Runs">
    <thead><tr><th scope="col">Run</th><th scope="col">state</th><th scope="col">steps</th><th scope="col">best step</th><th scope="col">by</th></tr></thead>
    <tbody>${runs.map((run, number) => html`<tr>
      <th scope="row" class=${tone(number)}><i class="swatch" aria-hidden="true"></i>${run.name}</th>
      <td>${run.finished ? "finished" : "running, or stopped"}</td>
      <td>${isNumber(run.last_step) ? counted(run.last_step) : "–"}</td>
      <td>${isNumber(run.best_step) ? counted(run.best_step) : "–"}</td>
      <td>${run.best?.replaceAll("_", " ") ?? "–"}</td>
    </tr>`)}</tbody>
  <//>`;
}
