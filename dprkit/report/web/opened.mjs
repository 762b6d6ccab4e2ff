// A question that is open: its answers, its figures under each system, and the rankings side by side.

import { jsonBlock, passageBlock } from "./blocks.mjs";
import { rankColumn } from "./columns.mjs";
import { keyOf } from "./keys.mjs";
import { useNarrow } from "./narrow.mjs";
import { counted, rankText, share } from "./numbers.mjs";
import { PassageList } from "./passages.mjs";
import { entriesOf, foldedEntries } from "./ranking.mjs";
import { SystemTabs } from "./system_tabs.mjs";
import { html, Letter, useEffect, useLayoutEffect, useRef, useState, WideTable } from "./ui.mjs";

const FIRST = 10; // passages of each ranking that are shown at once

/**
 * The rankings of a question, and the texts of the passages that are shown:
 * {row, systems: [entries], texts: number -> [id, title, text], shown: system -> how many}.
 */
async function readQuestion(summary, row, shown) {
  const { questions, passages } = summary;
  const rankings = (await jsonBlock(`r${Math.floor(row / questions.block)}`))[row % questions.block];
  const systems = rankings.map(entriesOf);
  const entries = systems.flatMap((all, system) => foldedEntries(all, shown[system] ?? FIRST));
  const numbers = entries.flatMap((entry) => entry.number ?? []);
  const blockOf = (number) => Math.floor(number / passages.block);
  const load = async (block) => [block, await (passages.words ? passageBlock : jsonBlock)(`t${block}`)];
  const blocks = new Map(await Promise.all([...new Set(numbers.map(blockOf))].map(load)));
  const texts = new Map(numbers.map((number) => [number, blocks.get(blockOf(number))[number % passages.block]]));
  return { row, systems, texts, shown };
}

/** What readQuestion gives, the last one until the next is read; and a function (system, count) that shows more. */
function useQuestion(summary, row) {
  const [read, setRead] = useState(null);
  const [shown, setShown] = useState({});
  useEffect(() => setShown({}), [row]);
  useEffect(() => {
    let wanted = true;
    readQuestion(summary, row, shown).then(
      (value) => wanted && setRead(value),
      (error) => wanted && setRead({ row, error }),
    );
    return () => (wanted = false);
  }, [row, shown]);
  return [read, (system, count) => setShown({ ...shown, [system]: count })];
}

export function Opened({ summary, data, row, choice, place, count, openAt, close }) {
  const [read, more] = useQuestion(summary, row);
  const [whole, setWhole] = useState(false);
  const heading = useRef(null);
  useEffect(() => void (heading.current.closest(".detail").scrollTop = 0), [row]);
  useWholeKey(() => setWhole(!whole));

  const [id, text, answers, gold] = data.questions[row];
  return html`<article class="opened-question">
    <${Steps} place=${place} count=${count} openAt=${openAt} close=${close} />
    <h2 ref=${heading}>${text || id}</h2>
    <${About} id=${id} answers=${answers} gold=${gold} tags=${tagsOf(summary, data.columns, row)} />
    <${Measures} summary=${summary} columns=${data.columns} row=${row} choice=${choice} />
    ${!read && html`<p class="quiet">Reading the rankings …</p>`}
    ${read?.error && html`<p class="sentence" role="alert">The rankings cannot be read: ${read.error.message}.</p>`}
    ${read?.systems && html`<${Rankings} summary=${summary} read=${read} stale=${read.row !== row}
      whole=${whole} setWhole=${setWhole} more=${more} />`}
  </article>`;
}

/** Where the question is in the list, and buttons to the next ones. */
function Steps({ place, count, openAt, close }) {
  const step = (by, label, sign) => {
    const there = place + by >= 0 && place + by < count;
    return html`<button type="button" onClick=${() => openAt(place + by)} disabled=${!there} aria-label=${label}>
      ${sign}
    </button>`;
  };
  return html`<div class="steps">
    <button type="button" class="back" onClick=${close}>← All questions</button>
    <span class="quiet">${place >= 0 && `${counted(place + 1)} of ${counted(count)}`}</span>
    ${step(-1, "Previous question", "↑")}${step(1, "Next question", "↓")}
    <button type="button" class="close" onClick=${close} aria-label="Close the question">×</button>
  </div>`;
}

function tagsOf(summary, columns, row) {
  const tags = (summary.tags ?? []).filter((_, number) => columns[`tag.${number}`]?.[row]);
  const dataset = columns.dataset && summary.datasets?.[columns.dataset[row]];
  return dataset ? [dataset, ...tags] : tags;
}

function About({ id, answers, gold, tags }) {
  const rows = [
    [answers.length === 1 ? "Answer" : "Answers", answers, (answer) => html`<span class="answer">${answer}</span> `],
    ["Gold", gold, (passage) => html`<code>${passage}</code> `],
    ["Id", [id], (text) => html`<code>${text}</code>`],
    ["Tags", tags, (tag) => html`<span class="badge">${tag}</span> `],
  ];
  return html`<dl class="about">
    ${rows.map(([label, all, show]) => all.length > 0 && html`<div><dt>${label}</dt><dd>${all.map(show)}</dd></div>`)}
  </dl>`;
}

const RANKS = { answer: "first answer", gold: "gold passage" };

/** The figures of this question under each system. */
function Measures({ summary, columns, row, choice }) {
  const { systems, measures } = summary;
  const kinds = Object.keys(RANKS).filter((kind) => systems.some(({ ranks }) => ranks[kind]));
  const heads = ["System", ...kinds.map((kind) => RANKS[kind]), ...measures.map(({ id }) => breakable(id))];
  return html`<${WideTable} label="Figures of this question" className="measures">
    <thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead>
    <tbody>${systems.map(
      ({ name }, system) => html`<tr>
        <th scope="row"><${Letter} number=${system} /> ${name}</th>
        ${kinds.map((kind) => html`<${RankCell} rank=${rankColumn(columns, kind, system)?.[row]} k=${choice.k} />`)}
        ${measures.map((_, measure) => html`<td>${share(columns[`value.${system}.${measure}`]?.[row], 3)}</td>`)}
      </tr>`,
    )}</tbody>
  <//>`;
}

/** A name that may be broken behind its underscores. */
function breakable(name) {
  return name.split(/(?<=_)/).flatMap((part) => [part, html`<wbr />`]);
}

function RankCell({ rank, k }) {
  if (rank === 0) return html`<td class="quiet">not found</td>`;
  return html`<td class=${rank <= k ? "rank hit" : "rank"}>${rankText(rank)}</td>`;
}

function Rankings({ summary, read, stale, whole, setWhole, more }) {
  const { systems } = summary;
  const tabbed = useNarrow() && systems.length > 1;
  const list = (system) => html`<${PassageList} key=${system} summary=${summary} read=${read} system=${system}
    shown=${read.shown[system] ?? FIRST} whole=${whole} more=${(count) => more(system, count)} />`;
  const columns = html`<div class="columns" style=${{ "--systems": systems.length }}
    tabindex="0" role="region" aria-label="Rankings side by side">${systems.map((_, system) => list(system))}</div>`;
  return html`<div class=${stale ? "rankings stale" : "rankings"}>
    <div class="heading">
      <h3>Rankings</h3>
      <label class="check">
        <input type="checkbox" checked=${whole} onChange=${() => setWhole(!whole)} /> whole passages
      </label>
    </div>
    ${tabbed ? html`<${SystemTabs} systems=${systems} list=${list} />` : columns}
  </div>`;
}

function useWholeKey(turn) {
  useLayoutEffect(() => {
    const press = (event) => keyOf(event) === "e" && turn();
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
}
