// The start of the page: the summary is there, so it is shown; the columns and questions follow.

import { App } from "./app.mjs";
import { blockBytes, gunzip, gunzipJson } from "./blocks.mjs";
import { columnsOf } from "./columns.mjs";
import { html, render } from "./ui.mjs";

/** What is known of every question: columns, and [id, question, answers, gold] of each; null in a report without. */
async function loaded(summary) {
  if (!summary.questions?.count) return null;
  const [columns, questions] = await Promise.all([
    blockBytes("columns").then(gunzip).then(columnsOf),
    blockBytes("questions").then(gunzipJson),
  ]);
  return { columns, questions, rowOf: new Map(questions.map(([id], row) => [id, row])) };
}

if (typeof DecompressionStream === "function") {
  const summary = JSON.parse(document.getElementById("summary").textContent);
  const app = document.getElementById("app");
  app.textContent = "";
  render(html`<${App} summary=${summary} data=${loaded(summary)} />`, app);
}
