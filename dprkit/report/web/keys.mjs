// Keys: one that is typed into a field, or with Ctrl, Alt or Meta, is not meant for the page.

/** The key of an event that is meant for the page, or "". */
export function keyOf(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return "";
  if (document.querySelector("dialog[open]")) return "";
  return event.target.closest?.("input:not([type=checkbox]), select, textarea") ? "" : event.key;
}

export const KEYS = [
  ["j or ↓", "next question"],
  ["k or ↑", "previous question"],
  ["Page Up, Page Down, Home, End", "further at once"],
  ["Enter", "open the question; read its rankings"],
  ["/", "search"],
  ["e", "whole passages, or the part that matters"],
  ["x", "exchange A and B"],
  ["Escape", "close the question; clear the search"],
  ["1 2 3", "overview, questions, training"],
  ["?", "this help"],
];
