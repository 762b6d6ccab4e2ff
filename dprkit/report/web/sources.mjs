// What is said beside figures: notes on them, what they were made from, and the commands that make them again.

import { Commands, Facts, html } from "./ui.mjs";

export function Notes({ notes }) {
  return notes?.length ? html`<ul class="notes">${notes.map((note) => html`<li>${note}</li>`)}</ul>` : null;
}

export function Sources({ rows }) {
  if (!rows?.length) return null;
  return html`<details><summary>What it was made from</summary><${Facts} rows=${rows} /></details>`;
}

/** How a system, a run, a table of points or an audit was made. */
export function Made({ of: made }) {
  return html`
    <${Notes} notes=${made.notes} />
    <${Commands} lines=${made.command} label=${made.name} />
    <${Sources} rows=${made.provenance} />`;
}
