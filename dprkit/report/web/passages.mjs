// One system's ranking of a question, passage by passage.

import { counted, letterOf, scoreText } from "./numbers.mjs";
import { foldedEntries, ranksOf } from "./ranking.mjs";
import { excerptPieces, pieces } from "./spans.mjs";
import { html, tone, useMemo } from "./ui.mjs";

const STEP = 20; // passages that one press of "more" adds
const [LONG, SHORT] = [200, 130]; // letters of a closed passage, with an answer and without

export function PassageList({ summary, read, system, shown, whole, more }) {
  const { systems, texts } = read;
  const others = useMemo(() => systems.map(ranksOf), [systems]);
  const entries = systems[system];
  const { name } = summary.systems[system];
  return html`<section class="ranking" aria-label=${`Ranking of ${name}`}>
    <h4><b class=${`letter ${tone(system)}`}>${letterOf(system)}</b> ${name}</h4>
    ${entries.length === 0 && html`<p class="quiet">No ranking of this question.</p>`}
    <ol>${foldedEntries(entries, shown).map((entry) =>
      entry.skipped
        ? html`<li class="fold" key=${`fold-${entry.upTo}`}><button type="button" onClick=${() => more(Math.min(shown + STEP, entries.length))}>${moreOf(entry, shown)}</button></li>`
        : html`<${Passage} key=${entry.rank} entry=${entry} passage=${texts.get(entry.number)} whole=${whole} others=${othersOf(others, system, entry.number)} />`,
    )}</ol>
  </section>`;
}

function moreOf({ skipped }) {
  return `${counted(skipped, "passage")} folded: show ${skipped > STEP ? `${STEP} more` : skipped === 1 ? "it" : "them"}`;
}

/** [[system, rank or 0], …] of a passage in the other systems. */
function othersOf(ranks, system, number) {
  return ranks.flatMap((known, other) => (other !== system && known.size ? [[other, known.get(number) ?? 0]] : []));
}

function Passage({ entry, passage, whole, others }) {
  const [id, title, text] = passage ?? ["", "", ""];
  const hit = entry.spans !== undefined;
  return html`<li class=${`passage ${hit ? "with-answer" : ""} ${entry.gold ? "gold" : ""}`} value=${entry.rank}>
    <div class="head">
      <span class="place">${entry.rank}</span>
      <span class="title">${title || id}</span>
      <span class="score" title="score">${scoreText(entry.score)}</span>
    </div>
    ${text && html`<p lang="">${(whole ? pieces : excerptPieces)(text, entry.spans ?? [], hit ? LONG : SHORT).map((piece) => (piece.lit ? html`<mark>${piece.text}</mark>` : piece.text))}</p>`}
    <div class="foot">
      ${hit && html`<span class="badge answer-badge">answer</span>`}
      ${entry.gold && html`<span class="badge gold-badge">gold</span>`}
      ${title && html`<code class="quiet">${id}</code>`}
      ${others.map(([other, rank]) => html`<span class=${`elsewhere ${tone(other)}`}><span class="offscreen">${letterOf(other)}: ${rank ? `rank ${rank}` : "not in the ranking"}</span><span aria-hidden="true">${letterOf(other)} ${rank || "–"}</span></span>`)}
    </div>
  </li>`;
}
