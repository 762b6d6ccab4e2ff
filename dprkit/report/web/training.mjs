// The training view: a chart for each group of curves, all runs in each.

import { LineChart } from "./chart.mjs";
import { counted, isNumber, short } from "./numbers.mjs";
import { commonSteps, firstLabels, groupsOfRuns, smoothed, valuesAt } from "./series.mjs";
import { Made } from "./sources.mjs";
import { Choice, html, Swatch, tone, turned, useMemo, useState, WideTable } from "./ui.mjs";

const TITLES = {
  loss: "Loss",
  accuracy: "Accuracy",
  rank: "Average rank",
  lr: "Learning rate",
  throughput: "Throughput",
};
const ROWS = 20; // of a chart's table: the validations, or as many steps, evenly

export function Training({ runs }) {
  const [hidden, setHidden] = useState([]);
  const [weight, setWeight] = useState(0);
  const groups = useMemo(() => groupsOfRuns(runs), [runs]);
  const turn = (number) => setHidden(turned(hidden, number));
  const options = runs.map(({ name }, id) => ({ id, label: name, tone: tone(id), pressed: !hidden.includes(id) }));
  return html`
    <div class="heading">
      <h2>Training</h2>
      <${Choice} label="Runs that are shown" className="runs" options=${options} turn=${turn} />
      <${Slider} weight=${weight} setWeight=${setWeight} />
    </div>
    <${RunsTable} runs=${runs} />
    <div class="charts">
      ${groups.map(
        ({ group, series }) => html`<${GroupChart} key=${group} group=${group} series=${series}
          runs=${runs} hidden=${hidden} weight=${weight} />`,
      )}
    </div>
    <section>
      <h2>How each was made</h2>
      ${runs.map(
        (run, number) => html`<article class="made">
          <h3 class=${tone(number)}><${Swatch} />${run.name}</h3>
          <${Made} of=${run} />
        </article>`,
      )}
    </section>`;
}

function Slider({ weight, setWeight }) {
  const slide = (event) => setWeight(Number(event.target.value));
  return html`<label class="slider">
    smoothing${" "}
    <input type="range" min="0" max="0.98" step="0.02" value=${weight} onInput=${slide} />
  </label>`;
}

function GroupChart({ group, series, runs, hidden, weight }) {
  const labels = useMemo(() => [...new Set(series.map((line) => line.label))], [series]);
  const [chosen, choose] = useState(() => firstLabels(series, runs[0].best));
  const shown = useMemo(
    () => series.filter((line) => !hidden.includes(line.run) && chosen.includes(line.label)),
    [series, hidden, chosen],
  );
  const steps = useMemo(() => commonSteps(shown), [shown]);
  const lines = useMemo(() => shown.map((line) => lineOf(line, steps, runs, weight)), [shown, steps, weight]);
  const unit = series[0].unit;
  const title = `${TITLES[group] ?? group}${unit ? `, ${unit}` : ""}`;
  const options = labels.map((label) => ({ id: label, label, pressed: chosen.includes(label) }));
  const turn = (label) => choose(turned(chosen, label));
  return html`<section>
    <${LineChart} title=${title} x=${steps} lines=${lines} marks=${bestSteps(runs, hidden)} height=${240}
      xAxis=${{ label: "step", text: (step) => counted(step) }} yAxis=${{ text: short }} />
    ${labels.length > 2 && html`<${Choice} label=${`Curves of ${title}`} className="curves"
      options=${options} turn=${turn} />`}
    <details>
      <summary>The figures of this chart</summary>
      <${ChartTable} title=${title} steps=${steps} lines=${lines} />
    </details>
  </section>`;
}

function bestSteps(runs, hidden) {
  const marks = runs.map((run, number) => ({ x: run.best_step, tone: number, label: "best step" }));
  return marks.filter((mark) => isNumber(mark.x) && !hidden.includes(mark.tone));
}

function lineOf(line, steps, runs, weight) {
  const values = valuesAt(steps, line);
  const label = runs.length > 1 ? `${runs[line.run].name}: ${line.label}` : line.label;
  const points = line.kind === "valid";
  return { label, tone: line.run, points, faint: !points, y: points ? values : smoothed(values, weight) };
}

/** The places of the steps that a table shows. */
function placesOf(steps, lines) {
  const places = steps.map((_, at) => at);
  const checked = places.filter((at) => lines.some((line) => line.points && line.y[at] !== null));
  const every = Math.max(1, Math.ceil(steps.length / ROWS));
  return checked.length ? checked : places.filter((at) => at % every === 0 || at === steps.length - 1);
}

function ChartTable({ title, steps, lines }) {
  return html`<${WideTable} label=${`Figures of ${title}`}>
    <thead><tr><th scope="col">step</th>${lines.map((line) => html`<th scope="col">${line.label}</th>`)}</tr></thead>
    <tbody>${placesOf(steps, lines).map(
      (at) => html`<tr>
        <th scope="row">${counted(steps[at])}</th>
        ${lines.map((line) => html`<td>${short(line.y[at])}</td>`)}
      </tr>`,
    )}</tbody>
  <//>`;
}

function RunsTable({ runs }) {
  const heads = ["Run", "state", "steps", "best step", "by"];
  const step = (number) => (isNumber(number) ? counted(number) : "–");
  return html`<${WideTable} label="Runs">
    <thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead>
    <tbody>${runs.map(
      (run, number) => html`<tr>
        <th scope="row" class=${tone(number)}><${Swatch} />${run.name}</th>
        <td>${run.finished ? "finished" : "running, or stopped"}</td>
        <td>${step(run.last_step)}</td>
        <td>${step(run.best_step)}</td>
        <td>${run.best?.replaceAll("_", " ") ?? "–"}</td>
      </tr>`,
    )}</tbody>
  <//>`;
}
