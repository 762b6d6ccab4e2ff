// What is said beside figures: notes on them, and what they were made from.

import { Facts, html } from "./ui.mjs";

export function Notes({ notes }) {
  return notes?.length ? html`<ul class="notes">${notes.map((note) => html`<li>${note}</li>`)}</ul>` : null;
}

export function Sources({ rows }) {
  return rows?.length ? html`<details><summary>What it was made from</summary><${Facts} rows=${rows} /></details>` : null;
}
