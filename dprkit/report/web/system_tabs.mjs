// On a phone: a tab for each system, by the pattern of the ARIA authoring practices, and the chosen one's ranking.

import { html, Letter, useState } from "./ui.mjs";

export function SystemTabs({ systems, list }) {
  const [tab, choose] = useState(0);
  const chosen = Math.min(tab, systems.length - 1);
  const press = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (chosen + step + systems.length) % systems.length;
    choose(next);
    event.currentTarget.children[next].focus();
    event.preventDefault();
  };
  return html`
    <div class="tabs" role="tablist" aria-label="Systems" onKeyDown=${press}>
      ${systems.map(
        ({ name }, system) => html`<${Tab} name=${name} system=${system} chosen=${system === chosen}
          choose=${() => choose(system)} />`,
      )}
    </div>
    <div role="tabpanel" id=${`panel-${chosen}`} aria-labelledby=${`tab-${chosen}`}>${list(chosen)}</div>`;
}

function Tab({ name, system, chosen, choose }) {
  return html`<button type="button" role="tab" id=${`tab-${system}`} tabindex=${chosen ? 0 : -1} onClick=${choose}
    aria-selected=${chosen} aria-controls=${chosen ? `panel-${system}` : undefined}>
    <${Letter} number=${system} /> ${name}
  </button>`;
}
