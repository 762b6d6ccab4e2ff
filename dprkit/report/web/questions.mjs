// The browser of questions: a bar of filters, the list, and the question that is open.

import { useBrowserKeys } from "./browser_keys.mjs";
import { choiceOf } from "./choice.mjs";
import { FilterBar } from "./filter_bar.mjs";
import { rowsThatPass, testOf } from "./filtering.mjs";
import { useNarrow } from "./narrow.mjs";
import { counted } from "./numbers.mjs";
import { Opened } from "./opened.mjs";
import { orderedRows, qualities } from "./ordering.mjs";
import { QuestionRow } from "./question_row.mjs";
import { haystacks, searchTest } from "./searching.mjs";
import { html, useEffect, useMemo, useRef } from "./ui.mjs";
import { VirtualList } from "./virtual_list.mjs";

const [ROW, ROW_ON_A_PHONE] = [44, 68]; // heights in CSS pixels

export function Questions({ summary, loading, state, go }) {
  const count = counted(summary.questions.count, "question");
  if (loading.error) {
    return html`<p class="sentence" role="alert">The questions cannot be read: ${loading.error.message}.</p>`;
  }
  if (!loading.value) return html`<p class="quiet waiting">Reading ${count} …</p>`;
  return html`<${Browser} summary=${summary} data=${loading.value} state=${state} go=${go} />`;
}

function Browser({ summary, data, state, go }) {
  const { columns, questions } = data;
  const choice = choiceOf(state, summary);
  const { tests, rows, difference } = useRows(summary, data, state, choice);
  const row = state.id === null ? undefined : data.rowOf.get(state.id);
  const at = row === undefined ? -1 : rows.indexOf(row);
  const openAt = (place) => {
    if (rows.length) go({ view: "questions", id: questions[rows[Math.min(Math.max(place, 0), rows.length - 1)]][0] });
  };
  const search = useRef(null);
  useBrowserKeys({ at, openAt, choice, state, go, search, last: rows.length - 1 });
  const narrow = useNarrow();
  useFocusThatFollows(narrow, state.id !== null);
  const draw = (place) => html`<${QuestionRow} summary=${summary} data=${data} row=${rows[place]}
    choice=${choice} difference=${difference} />`;

  return html`<div class=${`browser ${state.id === null ? "" : "opened"}`}>
    <${FilterBar} summary=${summary} columns=${columns} tests=${tests} state=${state} choice=${choice}
      go=${go} search=${search} shown=${rows.length} />
    <div class="panes">
      <${VirtualList} label="Questions" empty="No question passes all of these filters." count=${rows.length}
        rowHeight=${narrow ? ROW_ON_A_PHONE : ROW} active=${at} open=${openAt} draw=${draw} />
      <section class="detail" aria-label="The open question" id="detail" tabindex="-1">
        ${state.id === null && html`<${Hint} />`}
        ${state.id !== null && row === undefined && html`<${Unknown} id=${state.id} />`}
        ${row !== undefined && html`<${Opened} summary=${summary} data=${data} row=${row} choice=${choice}
          place=${at} count=${rows.length} openAt=${openAt} close=${() => go({ id: null })} />`}
      </section>
    </div>
  </div>`;
}

/** The tests of all filters; the rows that pass those that are on, in order; by how much A and B differ in a row. */
function useRows(summary, { columns, questions }, state, choice) {
  const { a, b, k, order, measure } = choice;
  const { rank, filters = [] } = summary;
  const texts = useMemo(() => haystacks(questions), [questions]);
  const tests = useMemo(
    () => new Map(filters.map((filter) => [filter.id, testOf(filter, columns, rank, choice)])),
    [a, b, k],
  );
  const ordered = useMemo(
    () => orderedRows(choice, columns, rank, (row) => questions[row][0]),
    [a, b, order, measure],
  );
  const rows = useMemo(() => {
    const wanted = [searchTest(state.q, texts), ...state.only.map((id) => tests.get(id))];
    return rowsThatPass(ordered, wanted.filter(Boolean));
  }, [ordered, tests, state.q, state.only]);
  const difference = useMemo(() => {
    const [ofA, ofB] = [a, b].map((system) => qualities(columns, rank, system, measure));
    return (row) => (ofA && ofB ? ofA[row] - ofB[row] : NaN);
  }, [a, b, measure]);
  return { tests, rows, difference };
}

function Hint() {
  return html`<div class="hint quiet">
    <p>Choose a question to see its rankings side by side.</p>
    <p><kbd>j</kbd> <kbd>k</kbd> next and previous, <kbd>/</kbd> search, <kbd>?</kbd> all keys</p>
  </div>`;
}

function Unknown({ id }) {
  return html`<p class="sentence">This report has no question with the id ${id}.</p>`;
}

/** On a phone the list gives way to the question, and back: so does the focus. */
function useFocusThatFollows(narrow, isOpen) {
  const before = useRef(isOpen);
  useEffect(() => {
    const place = isOpen ? "#detail" : ".list";
    if (narrow && isOpen !== before.current) document.querySelector(place).focus({ preventScroll: true });
    before.current = isOpen;
  }, [narrow, isOpen]);
}
