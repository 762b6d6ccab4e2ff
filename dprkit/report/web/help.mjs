// Keys, and what this file is.

import { KEYS } from "./keys.mjs";
import { counted } from "./numbers.mjs";
import { html, useLayoutEffect, useRef } from "./ui.mjs";

export function Help({ summary, close }) {
  const box = useRef(null);
  useLayoutEffect(() => box.current.showModal(), []);
  const { passages } = summary;
  const press = (event) => event.target === box.current && box.current.close(); // beside the box
  return html`<dialog ref=${box} class="help" aria-labelledby="help-title" onClose=${close} onClick=${press}>
    <div class="heading">
      <h2 id="help-title">Keys</h2>
      <button type="button" class="close" aria-label="Close" onClick=${() => box.current.close()}>×</button>
    </div>
    <dl>${KEYS.map(([key, what]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl>
    <p>The address keeps the view, the filters and the open question: copy it, and the same file opens there.</p>
    <p class="quiet">
      Made by dprkit ${summary.version} on ${summary.made}. The data is inside this file, and nothing is loaded from
      anywhere.${passages?.count > 0 && ` It holds ${counted(passages.texts, "passage")}.`}
    </p>
  </dialog>`;
}
