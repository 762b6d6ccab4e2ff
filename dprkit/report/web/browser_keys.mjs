// The keys of the browser of questions.

import { keyOf } from "./keys.mjs";
import { useLayoutEffect } from "./ui.mjs";

const PAGE = 12; // questions
// These are the browser's own wherever something else than the list has the focus.
const OF_THE_LIST = new Set(["ArrowDown", "ArrowUp", "PageDown", "PageUp", "Home", "End", "Enter"]);

export function useBrowserKeys({ at, openAt, choice, state, go, search, last }) {
  const next = () => openAt(at + 1);
  const previous = () => openAt(at < 0 ? 0 : at - 1);
  const actions = {
    j: next,
    ArrowDown: next,
    k: previous,
    ArrowUp: previous,
    PageDown: () => openAt(at + PAGE),
    PageUp: () => openAt(at - PAGE),
    Home: () => openAt(0),
    End: () => openAt(last),
    Enter: () => (at < 0 ? openAt(0) : document.getElementById("detail").focus()),
    "/": () => search.current.focus(),
    x: () => go({ a: choice.b, b: choice.a }, { quietly: true }),
    Escape: () => (state.id !== null ? go({ id: null }) : go({ q: "" }, { quietly: true })),
  };
  // Not useEffect: it waits for the next frame, and a second key may come before that.
  useLayoutEffect(() => {
    const press = (event) => {
      const key = keyOf(event);
      const elsewhere = event.target !== document.body && !event.target.closest(".list");
      if (!Object.hasOwn(actions, key) || (elsewhere && OF_THE_LIST.has(key))) return;
      actions[key]();
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
}
