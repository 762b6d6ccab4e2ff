// The whole page: its bar, the view that the address names, and the keys that work everywhere.

import { hashOf, stateOf, VIEWS } from "./address.mjs";
import { Help } from "./help.mjs";
import { keyOf } from "./keys.mjs";
import { Overview } from "./overview.mjs";
import { Questions } from "./questions.mjs";
import { ThemeButton } from "./theme.mjs";
import { Training } from "./training.mjs";
import { html, useAwaited, useCallback, useEffect, useState } from "./ui.mjs";

const LABELS = { overview: "Overview", questions: "Questions", training: "Training" };

export function App({ summary, data }) {
  const [state, go] = useAddress();
  const [helping, setHelping] = useState(false);
  const loading = useAwaited(() => data, []);
  const views = VIEWS.filter((view) => isThere(view, summary));
  const view = views.includes(state.view) ? state.view : views[0];

  useEffect(() => {
    const press = (event) => {
      const key = keyOf(event);
      const other = views[Number(key) - 1];
      if (key === "?") setHelping(true);
      else if (other) go({ view: other, id: null });
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [go]);

  return html`
    <header class="bar">
      <h1 title=${summary.title}>${summary.title}</h1>
      <nav aria-label="Views">
        ${views.map((name) => {
          const current = name === view ? "page" : undefined;
          return html`<a href=${`#${name}`} aria-current=${current}>${LABELS[name]}</a>`;
        })}
      </nav>
      <div class="tools">
        <${ThemeButton} />
        <button type="button" aria-label="Keys and help" title="Keys and help" onClick=${() => setHelping(true)}>
          ?
        </button>
      </div>
    </header>
    <main class=${`view-${view}`} id="main">
      ${view === "overview" && html`<${Overview} summary=${summary} />`}
      ${view === "questions" && html`<${Questions} summary=${summary} loading=${loading} state=${state} go=${go} />`}
      ${view === "training" && html`<${Training} runs=${summary.runs} />`}
    </main>
    ${helping && html`<${Help} summary=${summary} close=${() => setHelping(false)} />`}
  `;
}

function isThere(view, summary) {
  if (view === "questions") return Boolean(summary.questions?.count);
  if (view === "training") return Boolean(summary.runs?.length);
  return Boolean(summary.systems?.length || summary.tuning?.length || summary.audits?.length || !summary.runs?.length);
}

/** The state in the address, and a function that changes it: a view or a question opened is an entry in the history. */
function useAddress() {
  const [state, setState] = useState(() => stateOf(location.hash));
  useEffect(() => {
    const follow = () => setState(stateOf(location.hash));
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  const go = useCallback((changes, { quietly = false } = {}) => {
    setState((before) => {
      const after = { ...before, ...changes };
      const place = hashOf(after);
      const entry = !quietly && (after.view !== before.view || (after.id === null) !== (before.id === null));
      if (place !== location.hash) history[entry ? "pushState" : "replaceState"](null, "", place);
      return after;
    });
  }, []);
  return [state, go];
}
