// A row of the list: the question, its rank under each system, and by how much they differ where that is the order.

import { rankColumn } from "./columns.mjs";
import { letterOf, rankText, rankWords, signed } from "./numbers.mjs";
import { isHit } from "./filtering.mjs";
import { ofTwo } from "./ordering.mjs";
import { html, tone } from "./ui.mjs";

const PILLS = 4; // ranks in a row; of more systems only those of A and B

export function QuestionRow({ summary, data, row, choice, difference }) {
  const [id, text] = data.questions[row];
  const { systems, rank } = summary;
  const shown = systems.length <= PILLS ? systems.map((_, number) => number) : [choice.a, choice.b];
  const rankOf = (system) => rankColumn(data.columns, rank, system)?.[row];
  return html`
    <span class="question-text">${text || id}</span>
    <span class="pills">
      ${ofTwo(choice.order) && html`<span class="difference">${signed(difference(row), 2)}</span>`}
      ${rank && shown.map((system) => html`<${RankPill} system=${system} rank=${rankOf(system)} k=${choice.k} />`)}
    </span>`;
}

/** A rank as a small label, in its system's colour where it is a hit at k. */
function RankPill({ system, rank, k }) {
  const letter = letterOf(system);
  return html`<span class=${`pill ${tone(system)} ${isHit(rank, k) ? "hit" : "miss"}`}>
    <span class="offscreen">${letter} ${rankWords(rank)}</span>
    <span aria-hidden="true"><small>${letter}</small> ${rankText(rank)}</span>
  </span>`;
}
