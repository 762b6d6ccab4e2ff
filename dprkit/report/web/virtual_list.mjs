// A list of many rows of one height, of which only those in sight are in the document.

import { html, useCallback, useEffect, useLayoutEffect, useRef, useState } from "./ui.mjs";

const BEYOND = 6; // rows above and below those in sight

/** The rows [first, end) to draw. */
export function windowOf(scrolled, height, rowHeight, count) {
  const first = Math.max(0, Math.floor(scrolled / rowHeight) - BEYOND);
  return [first, Math.min(count, Math.ceil((scrolled + height) / rowHeight) + BEYOND)];
}

/** A listbox of `count` rows. `draw(at)` gives a row's content; `active` is the row that the keys are at. */
export function VirtualList({ count, rowHeight, active, draw, open, label, empty }) {
  const box = useRef(null);
  const [seen, setSeen] = useState([0, 800]);
  const measure = useCallback(() => setSeen([box.current.scrollTop, box.current.clientHeight]), []);
  useLayoutEffect(() => {
    const watcher = new ResizeObserver(measure);
    watcher.observe(box.current);
    return () => watcher.disconnect();
  }, []);
  useLayoutEffect(() => {
    const { scrollTop, clientHeight } = box.current;
    const top = active * rowHeight;
    if (active < 0) box.current.scrollTop = 0;
    else if (top < scrollTop) box.current.scrollTop = top;
    else if (top + rowHeight > scrollTop + clientHeight) box.current.scrollTop = top + rowHeight - clientHeight;
    measure();
  }, [active, count, rowHeight]);

  const [first, end] = windowOf(seen[0], seen[1], rowHeight, count);
  const rows = Array.from({ length: Math.max(0, end - first) }, (_, number) => first + number);
  const current = active >= first && active < end ? `row-${active}` : undefined;
  return html`<div class="list" ref=${box} onScroll=${measure} role="listbox" tabindex="0"
      aria-label=${label} aria-activedescendant=${current}>
    ${count === 0 && html`<p class="quiet empty">${empty}</p>`}
    <div role="presentation" style=${{ height: `${count * rowHeight}px` }}>
      ${rows.map(
        (at) => html`<div key=${at} id=${`row-${at}`} role="option" class="row" aria-selected=${at === active}
          aria-setsize=${count} aria-posinset=${at + 1} onClick=${() => open(at)}
          style=${{ top: `${at * rowHeight}px`, height: `${rowHeight}px` }}>${draw(at)}</div>`,
      )}
    </div>
  </div>`;
}
