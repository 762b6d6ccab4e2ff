// One system's ranking of a question, passage by passage.

import { counted, letterOf, scoreText } from "./numbers.mjs";
import { foldedEntries, ranksOf } from "./ranking.mjs";
import { excerptPieces, pieces } from "./spans.mjs";
import { html, Letter, tone, useMemo } from "./ui.mjs";

const STEP = 20; // passages that one press of "more" adds
const [LONG, SHORT] = [200, 130]; // letters of a closed passage, with an answer and without

export function PassageList({ summary, read, system, shown, whole, more }) {
  const { systems, texts } = read;
  const others = useMemo(() => systems.map(ranksOf), [systems]);
  const entries = systems[system];
  const { name } = summary.systems[system];
  const unfold = () => more(Math.min(shown + STEP, entries.length));
  return html`<section class="ranking" aria-label=${`Ranking of ${name}`}>
    <h4><${Letter} number=${system} /> ${name}</h4>
    ${entries.length === 0 && html`<p class="quiet">No ranking of this question.</p>`}
    <ol>${foldedEntries(entries, shown).map((entry) =>
      entry.skipped
        ? html`<${Fold} key=${`fold-${entry.upTo}`} count=${entry.skipped} unfold=${unfold} />`
        : html`<${Passage} key=${entry.rank} entry=${entry} passage=${texts.get(entry.number)} whole=${whole}
            others=${othersOf(others, system, entry.number)} />`,
    )}</ol>
  </section>`;
}

function Fold({ count, unfold }) {
  const what = count > STEP ? `${STEP} more` : count === 1 ? "it" : "them";
  return html`<li class="fold">
    <button type="button" onClick=${unfold}>${counted(count, "passage")} folded: show ${what}</button>
  </li>`;
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
    ${text && html`<${PassageText} text=${text} spans=${entry.spans ?? []} whole=${whole} hit=${hit} />`}
    <div class="foot">
      ${hit && html`<span class="badge answer-badge">answer</span>`}
      ${entry.gold && html`<span class="badge gold-badge">gold</span>`}
      ${title && html`<code class="quiet">${id}</code>`}
      ${others.map(([other, rank]) => html`<${Elsewhere} system=${other} rank=${rank} />`)}
    </div>
  </li>`;
}

/** A passage's text, whole or the part that matters, with what matched lit. */
function PassageText({ text, spans, whole, hit }) {
  const shown = whole ? pieces(text, spans) : excerptPieces(text, spans, hit ? LONG : SHORT);
  return html`<p lang="">${shown.map((piece) => (piece.lit ? html`<mark>${piece.text}</mark>` : piece.text))}</p>`;
}

/** The rank of the same passage under another system. */
function Elsewhere({ system, rank }) {
  const letter = letterOf(system);
  return html`<span class=${`elsewhere ${tone(system)}`}>
    <span class="offscreen">${letter}: ${rank ? `rank ${rank}` : "not in the ranking"}</span>
    <span aria-hidden="true">${letter} ${rank || "–"}</span>
  </span>`;
}
