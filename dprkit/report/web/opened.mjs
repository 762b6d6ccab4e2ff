// A question that is open: its answers, its figures under each system, and the rankings side by side.

import { jsonBlock } from "./blocks.mjs";
import { rankColumn } from "./columns.mjs";
import { keyOf } from "./keys.mjs";
import { counted, letterOf, rankText, share } from "./numbers.mjs";
import { PassageList } from "./passages.mjs";
import { useNarrow } from "./narrow.mjs";
import { entriesOf, foldedEntries } from "./ranking.mjs";
import { html, tone, useEffect, useMemo, useRef, useState, WideTable } from "./ui.mjs";

const FIRST = 10; // passages of each ranking that are shown at once

/** The rankings of a question, and the texts of the passages that are shown: {row, systems: [entries], texts: number -> [id, title, text]}. */
async function readQuestion(summary, row, shown) {
  const { questions, passages } = summary;
  const rankings = (await jsonBlock(`r${Math.floor(row / questions.block)}`))[row % questions.block];
  const systems = rankings.map(entriesOf);
  const numbers = systems.flatMap((entries, number) => foldedEntries(entries, shown[number] ?? FIRST).flatMap((entry) => entry.number ?? []));
  const wanted = [...new Set(numbers.map((number) => Math.floor(number / passages.block)))];
  const blocks = new Map(await Promise.all(wanted.map(async (block) => [block, await jsonBlock(`t${block}`)])));
  const texts = new Map(numbers.map((number) => [number, blocks.get(Math.floor(number / passages.block))[number % passages.block]]));
  return { row, systems, texts, shown };
}

export function Opened({ summary, data, row, choice, place, count, openAt, close }) {
  const [read, setRead] = useState(null);
  const [shown, setShown] = useState({});
  const [whole, setWhole] = useState(false);
  const heading = useRef(null);
  useEffect(() => setShown({}), [row]);
  useEffect(() => {
    let wanted = true;
    readQuestion(summary, row, shown).then(
      (value) => wanted && setRead(value),
      (error) => wanted && setRead({ row, error }),
    );
    return () => (wanted = false);
  }, [row, shown]);
  useEffect(() => void (heading.current.closest(".detail").scrollTop = 0), [row]);
  useWholeKey(() => setWhole(!whole));

  const [id, text, answers, gold] = data.questions[row];
  return html`<article class="opened-question">
    <div class="steps">
      <button type="button" class="back" onClick=${close}>← All questions</button>
      <span class="quiet">${place >= 0 && `${counted(place + 1)} of ${counted(count)}`}</span>
      <button type="button" onClick=${() => openAt(place - 1)} disabled=${place <= 0} aria-label="Previous question">↑</button>
      <button type="button" onClick=${() => openAt(place + 1)} disabled=${place + 1 >= count} aria-label="Next question">↓</button>
      <button type="button" class="close" onClick=${close} aria-label="Close the question">×</button>
    </div>
    <h2 ref=${heading}>${text || id}</h2>
    <${About} id=${id} answers=${answers} gold=${gold} tags=${tagsOf(summary, data.columns, row)} />
    <${Measures} summary=${summary} columns=${data.columns} row=${row} choice=${choice} />
    ${read?.error && html`<p class="sentence" role="alert">The rankings cannot be read: ${read.error.message}.</p>`}
    ${read?.systems && html`<${Rankings} summary=${summary} read=${read} whole=${whole} setWhole=${setWhole}
      more=${(system, upTo) => setShown({ ...shown, [system]: upTo })} stale=${read.row !== row} />`}
    ${!read && html`<p class="quiet">Reading the rankings …</p>`}
  </article>`;
}

function tagsOf(summary, columns, row) {
  const tags = (summary.tags ?? []).filter((_, number) => columns[`tag.${number}`]?.[row]);
  const dataset = columns.dataset && summary.datasets?.[columns.dataset[row]];
  return dataset ? [dataset, ...tags] : tags;
}

function About({ id, answers, gold, tags }) {
  return html`<dl class="about">
    ${answers.length > 0 && html`<div><dt>${answers.length === 1 ? "Answer" : "Answers"}</dt><dd>${answers.map((answer) => html`<span class="answer">${answer}</span> `)}</dd></div>`}
    ${gold.length > 0 && html`<div><dt>Gold</dt><dd>${gold.map((passage) => html`<code>${passage}</code> `)}</dd></div>`}
    <div><dt>Id</dt><dd><code>${id}</code></dd></div>
    ${tags.length > 0 && html`<div><dt>Tags</dt><dd>${tags.map((tag) => html`<span class="badge">${tag}</span> `)}</dd></div>`}
  </dl>`;
}

/** The figures of this question under each system. */
function Measures({ summary, columns, row, choice }) {
  const kinds = ["answer", "gold"].filter((kind) => summary.systems.some(({ ranks }) => ranks[kind]));
  const labels = { answer: "first answer", gold: "gold passage" };
  return html`<${WideTable} label="Figures of this question" className="measures">
    <thead><tr><th scope="col">System</th>${kinds.map((kind) => html`<th scope="col">${labels[kind]}</th>`)}${summary.measures.map(({ id }) => html`<th scope="col">${breakable(id)}</th>`)}</tr></thead>
    <tbody>${summary.systems.map((system, number) => html`<tr>
      <th scope="row"><b class=${`letter ${tone(number)}`}>${letterOf(number)}</b> ${system.name}</th>
      ${kinds.map((kind) => html`<td><${RankCell} rank=${rankColumn(columns, kind, number)?.[row]} k=${choice.k} /></td>`)}
      ${summary.measures.map((_, measure) => html`<td>${share(columns[`value.${number}.${measure}`]?.[row], 3)}</td>`)}
    </tr>`)}</tbody>
  <//>`;
}

/** A name that may be broken behind its underscores. */
function breakable(name) {
  return name.split(/(?<=_)/).flatMap((part) => [part, html`<wbr />`]);
}

function RankCell({ rank, k }) {
  if (rank === 0) return html`<span class="quiet">not found</span>`;
  return html`<span class=${rank <= k ? "rank hit" : "rank"}>${rankText(rank)}</span>`;
}

function Rankings({ summary, read, whole, setWhole, more, stale }) {
  const narrow = useNarrow();
  const [tab, setTab] = useState(0);
  const { systems } = summary;
  const chosen = Math.min(tab, systems.length - 1);
  const list = (number) => html`<${PassageList} key=${number} summary=${summary} read=${read} system=${number} shown=${read.shown[number] ?? FIRST} whole=${whole} more=${(upTo) => more(number, upTo)} />`;
  return html`<div class=${stale ? "rankings stale" : "rankings"}>
    <div class="heading"><h3>Rankings</h3>
      <label class="check"><input type="checkbox" checked=${whole} onChange=${() => setWhole(!whole)} /> whole passages</label></div>
    ${narrow && systems.length > 1 && html`<${Tabs} systems=${systems} chosen=${chosen} choose=${setTab} />`}
    ${narrow && systems.length > 1
      ? html`<div role="tabpanel" id=${`panel-${chosen}`} aria-labelledby=${`tab-${chosen}`}>${list(chosen)}</div>`
      : html`<div class="columns" style=${{ "--systems": systems.length }} tabindex="0" role="region" aria-label="Rankings side by side">${systems.map((_, number) => list(number))}</div>`}
  </div>`;
}

function Tabs({ systems, chosen, choose }) {
  const press = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (chosen + step + systems.length) % systems.length;
    choose(next);
    event.currentTarget.children[next].focus();
    event.preventDefault();
  };
  return html`<div class="tabs" role="tablist" aria-label="Systems" onKeyDown=${press}>
    ${systems.map((system, number) => html`<button type="button" role="tab" id=${`tab-${number}`} aria-selected=${number === chosen} aria-controls=${number === chosen ? `panel-${number}` : undefined}
      tabindex=${number === chosen ? 0 : -1} onClick=${() => choose(number)}><b class=${`letter ${tone(number)}`}>${letterOf(number)}</b> ${system.name}</button>`)}
  </div>`;
}

function useWholeKey(turn) {
  useEffect(() => {
    const press = (event) => keyOf(event) === "e" && turn();
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
}
