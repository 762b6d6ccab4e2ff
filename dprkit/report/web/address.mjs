// The state of the page in the address, after the #: a link opens the same view, filters and question.

export const VIEWS = ["overview", "questions", "training"];
const START = { view: "overview", id: null, q: "", only: [], a: 0, b: 1, k: null, order: "file", measure: null };

/** The state that an address's hash tells; what is absent or unreadable is as at the start. */
export function stateOf(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [view, ...rest] = path.split("/");
  const said = new URLSearchParams(query);
  const number = (name, other) => (/^\d+$/.test(said.get(name) ?? "") ? Number(said.get(name)) : other);
  return {
    ...START,
    view: VIEWS.includes(view) ? view : START.view,
    id: rest.length ? decoded(rest.join("/")) : null,
    q: said.get("q") ?? "",
    only: said.getAll("only"),
    a: number("a", START.a),
    b: number("b", START.b),
    k: number("k", START.k),
    order: said.get("order") ?? START.order,
    measure: said.get("measure"),
  };
}

/** The hash of a state; what is as at the start is left out. */
export function hashOf(state) {
  const said = new URLSearchParams();
  for (const name of ["q", "a", "b", "k", "order", "measure"]) {
    if (state[name] !== START[name] && state[name] !== null) said.set(name, state[name]);
  }
  for (const filter of state.only) said.append("only", filter);
  const path = state.id === null ? state.view : `${state.view}/${encodeURIComponent(state.id)}`;
  return `#${path}${String(said) && `?${said}`}`;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a % that begins no escape
  }
}
