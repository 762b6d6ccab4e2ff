// The browser of questions: a bar of filters, the list, and the question that is open.

import { rankColumn } from "./columns.mjs";
import { rowsThatPass, testOf } from "./filtering.mjs";
import { FilterBar } from "./filter_bar.mjs";
import { keyOf } from "./keys.mjs";
import { counted, letterOf, rankText, rankWords, signed } from "./numbers.mjs";
import { useNarrow } from "./narrow.mjs";
import { Opened } from "./opened.mjs";
import { orderedRows, ORDERS, qualities } from "./ordering.mjs";
import { haystacks, searchTest } from "./searching.mjs";
import { html, tone, useEffect, useMemo, useRef } from "./ui.mjs";
import { VirtualList } from "./virtual_list.mjs";

const PILLS = 4; // ranks in a row; of more systems only those of A and B

export function Questions({ summary, loading, state, go }) {
  if (loading.error) return html`<p class="sentence" role="alert">The questions cannot be read: ${loading.error.message}.</p>`;
  if (!loading.value) return html`<p class="quiet waiting">Reading ${counted(summary.questions.count, "question")} …</p>`;
  return html`<${Browser} summary=${summary} data=${loading.value} state=${state} go=${go} />`;
}

/** What is chosen, where it is possible: systems that there are, a depth, a measure that has a column. */
export function choiceOf(state, summary) {
  const last = summary.systems.length - 1;
  const a = Math.min(state.a, last);
  const b = Math.min(state.b, last);
  const depths = summary.depths ?? [];
  const usual = depths.includes(20) ? 20 : depths[depths.length - 1] ?? 20;
  const measure = summary.measures.findIndex(({ id }) => id === state.measure);
  const order = ORDERS.find(({ id, two }) => id === state.order && (!two || last > 0))?.id ?? "file";
  const first = summary.rank || !summary.measures.length ? null : 0;
  return { a, b: a === b && last > 0 ? (a + 1) % (last + 1) : b, k: state.k || usual, order, measure: measure < 0 ? first : measure };
}

function Browser({ summary, data, state, go }) {
  const choice = choiceOf(state, summary);
  const { columns, questions } = data;
  const { a, b, k, order, measure } = choice;
  const texts = useMemo(() => haystacks(questions), [questions]);
  const tests = useMemo(
    () => new Map((summary.filters ?? []).map((filter) => [filter.id, testOf(filter, columns, summary.rank, choice)])),
    [a, b, k],
  );
  const ordered = useMemo(() => orderedRows(choice, columns, summary.rank, (row) => questions[row][0]), [a, b, order, measure]);
  const rows = useMemo(() => {
    const wanted = [searchTest(state.q, texts), ...state.only.map((id) => tests.get(id))].filter(Boolean);
    return rowsThatPass(ordered, wanted);
  }, [ordered, tests, state.q, state.only]);

  const difference = useMemo(() => {
    const [ofA, ofB] = [a, b].map((system) => qualities(columns, summary.rank, system, measure));
    return (of) => (ofA && ofB ? ofA[of] - ofB[of] : NaN);
  }, [a, b, measure]);

  const row = state.id === null ? undefined : data.rowOf.get(state.id);
  const at = row === undefined ? -1 : rows.indexOf(row);
  const openAt = (place) => rows.length && go({ view: "questions", id: questions[rows[Math.min(Math.max(place, 0), rows.length - 1)]][0] });
  const search = useRef(null);
  useBrowserKeys({ at, openAt, choice, state, go, search, last: rows.length - 1 });
  const narrow = useNarrow();
  useFocusThatFollows(narrow, state.id !== null);
  const rowHeight = narrow ? 68 : 44;

  return html`<div class=${`browser ${state.id === null ? "" : "opened"}`}>
    <${FilterBar} summary=${summary} columns=${columns} tests=${tests} state=${state} choice=${choice} go=${go} search=${search} shown=${rows.length} />
    <div class="panes">
      <${VirtualList} count=${rows.length} rowHeight=${rowHeight} active=${at} open=${openAt} label="Questions"
        draw=${(place) => html`<${Row} summary=${summary} data=${data} row=${rows[place]} choice=${choice} difference=${difference} />`} empty="No question passes all of these filters." />
      <section class="detail" aria-label="The open question" id="detail" tabindex="-1">
        ${state.id === null && html`<${Hint} />`}
        ${state.id !== null && row === undefined && html`<p class="sentence">This report has no question with the id ${state.id}.</p>`}
        ${row !== undefined && html`<${Opened} summary=${summary} data=${data} row=${row} choice=${choice} place=${at} count=${rows.length} openAt=${openAt} close=${() => go({ id: null })} />`}
      </section>
    </div>
  </div>`;
}

function Hint() {
  return html`<div class="hint quiet"><p>Choose a question to see its rankings side by side.</p>
    <p><kbd>j</kbd> <kbd>k</kbd> next and previous, <kbd>/</kbd> search, <kbd>?</kbd> all keys</p></div>`;
}

/** A row of the list: the question, its rank under each system, and by how much they differ where that is the order. */
function Row({ summary, data, row, choice, difference }) {
  const [id, text] = data.questions[row];
  const { systems, rank } = summary;
  const shown = systems.length <= PILLS ? systems.map((_, number) => number) : [choice.a, choice.b];
  const contrast = ORDERS.find((order) => order.id === choice.order)?.two;
  return html`
    <span class="question-text">${text || id}</span>
    <span class="pills">
      ${contrast && html`<span class="difference">${signed(difference(row), 2)}</span>`}
      ${rank && shown.map((number) => html`<${RankPill} system=${number} rank=${rankColumn(data.columns, rank, number)?.[row]} k=${choice.k} />`)}
    </span>`;
}

/** A rank as a small label: filled where it is a hit at k. */
export function RankPill({ system, rank, k }) {
  const hit = rank >= 1 && rank <= k;
  return html`<span class=${`pill ${tone(system)} ${hit ? "hit" : "miss"}`}>
    <span class="offscreen">${letterOf(system)} ${rankWords(rank)}</span><span aria-hidden="true"><small>${letterOf(system)}</small> ${rankText(rank)}</span>
  </span>`;
}

/** On a phone the list gives way to the question, and back: so does the focus. */
function useFocusThatFollows(narrow, isOpen) {
  const before = useRef(isOpen);
  useEffect(() => {
    if (narrow && isOpen !== before.current) document.querySelector(isOpen ? "#detail" : ".list").focus({ preventScroll: true });
    before.current = isOpen;
  }, [narrow, isOpen]);
}

const PAGE = 12;

function useBrowserKeys({ at, openAt, choice, state, go, search, last }) {
  const actions = {
    j: () => openAt(at + 1),
    k: () => openAt(at < 0 ? 0 : at - 1),
    PageDown: () => openAt(at + PAGE),
    PageUp: () => openAt(at - PAGE),
    Home: () => openAt(0),
    End: () => openAt(last),
    Enter: () => (at < 0 ? openAt(0) : document.getElementById("detail").focus()),
    "/": () => search.current.focus(),
    x: () => go({ a: choice.b, b: choice.a }, { quietly: true }),
    Escape: () => (state.id !== null ? go({ id: null }) : go({ q: "" }, { quietly: true })),
  };
  actions.ArrowDown = actions.j;
  actions.ArrowUp = actions.k;
  const inList = new Set(["ArrowDown", "ArrowUp", "PageDown", "PageUp", "Home", "End", "Enter"]);
  useEffect(() => {
    const press = (event) => {
      const key = keyOf(event);
      const target = event.target;
      // Arrows and Enter are the browser's own wherever something else than the list has the focus.
      if (inList.has(key) && target !== document.body && !target.closest(".list")) return;
      if (!Object.hasOwn(actions, key)) return;
      actions[key]();
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
}
