// The figures: what each system reached, how sure that is, what it costs, and what makes it again.

import { Curves } from "./curves.mjs";
import { FiguresTable } from "./figures_table.mjs";
import { counted } from "./numbers.mjs";
import { Made } from "./sources.mjs";
import { Tuning } from "./tuning.mjs";
import { Commands, Facts, html, Letter } from "./ui.mjs";

export function Overview({ summary }) {
  const { systems = [], curves = [], tuning = [], audits = [] } = summary;
  return html`
    <p class="lead">${leadOf(summary)}</p>
    ${systems.length > 0 && html`<${FiguresTable} systems=${systems} measures=${summary.measures ?? []} />`}
    ${curves.length > 0 && html`<${Curves} curves=${curves} systems=${systems} />`}
    ${tuning.map((table) => html`<${Tuning} table=${table} key=${table.name} />`)}
    ${audits.map((audit) => html`<${Audit} audit=${audit} />`)}
    ${systems.length > 0 && html`<${Systems} systems=${systems} />`}
    <footer class="quiet">
      <p>Made by dprkit ${summary.version} on ${summary.made}.</p>
      ${summary.command && html`<${Commands} lines=${[summary.command]} label="this report" />`}
    </footer>`;
}

function leadOf({ systems = [], questions, passages, runs = [] }) {
  const parts = [];
  if (systems.length) parts.push(counted(systems.length, "system"));
  if (questions?.count) parts.push(counted(questions.count, "question"));
  if (passages?.count) parts.push(`${counted(passages.texts, "passage")} to read`);
  if (runs.length) parts.push(counted(runs.length, "training"));
  return parts.join(" · ");
}

function Audit({ audit }) {
  return html`<section>
    <h2>${audit.name}</h2>
    <${Facts} rows=${audit.figures} />
    <${Made} of=${audit} />
  </section>`;
}

function Systems({ systems }) {
  return html`<section>
    <h2>How each was made</h2>
    ${systems.map(
      (system, number) => html`<article class="made">
        <h3><${Letter} number=${number} /> ${system.name}</h3>
        <${Made} of=${system} />
      </article>`,
    )}
  </section>`;
}
