// Series of several runs on one axis of steps.

/** All steps of some series, ascending, each once. */
export function commonSteps(series) {
  return [...new Set(series.flatMap((line) => line.x))].sort((x, y) => x - y);
}

/** The values of a series at the common steps; null where it has none. */
export function valuesAt(steps, { x, y }) {
  const known = new Map(x.map((step, at) => [step, y[at]]));
  return steps.map((step) => known.get(step) ?? null);
}

/** An exponential moving mean over the values that are there, corrected for its start as Adam's are. */
export function smoothed(values, weight) {
  if (!weight) return values;
  let [sum, share] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return sum / share;
  });
}

/** The labels of the curves that are shown at first: one of training, and the validation that tells the best step. */
export function firstLabels(series, best) {
  const labels = (kind) => [...new Set(series.filter((line) => line.kind === kind).map((line) => line.label))];
  const [train, valid] = [labels("train"), labels("valid")];
  return [train[0], valid.find((label) => label.endsWith(best ?? "?")) ?? valid[0]].filter(Boolean);
}

/** [{group, series: [{run, ...series}]}] of all runs, groups in the order of their first appearance. */
export function groupsOfRuns(runs) {
  const groups = new Map();
  runs.forEach((run, number) =>
    run.series.forEach((line) => {
      if (!groups.has(line.group)) groups.set(line.group, []);
      groups.get(line.group).push({ ...line, run: number });
    }),
  );
  return [...groups].map(([group, series]) => ({ group, series }));
}
