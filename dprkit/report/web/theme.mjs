// Light and dark: as the system has it until the button is pressed. Charts are drawn anew when it changes.

import { html, useEffect, useState } from "./ui.mjs";

const STORED = "dprkit-theme";
const root = document.documentElement;
const systemDark = matchMedia("(prefers-color-scheme: dark)");

function setTheme(theme) {
  root.dataset.theme = theme;
  dispatchEvent(new Event("themechange"));
}

export function ThemeButton() {
  const [theme, setShown] = useState(root.dataset.theme);
  useEffect(() => {
    const show = () => setShown(root.dataset.theme);
    const follow = () => stored() ?? setTheme(systemDark.matches ? "dark" : "light");
    addEventListener("themechange", show);
    systemDark.addEventListener("change", follow);
    return () => {
      removeEventListener("themechange", show);
      systemDark.removeEventListener("change", follow);
    };
  }, []);
  const other = theme === "dark" ? "light" : "dark";
  const label = `Turn the page ${other}`;
  const turn = () => {
    store(other);
    setTheme(other);
  };
  return html`<button type="button" onClick=${turn} aria-label=${label} title=${label}>
    ${theme === "dark" ? "☀" : "☾"}
  </button>`;
}

function stored() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null; // a file may have no storage: a theme lasts as long as the page
  }
}

function store(theme) {
  try {
    localStorage.setItem(STORED, theme);
  } catch {
    // as above
  }
}

/** Call `redraw` when colours change, also for the printer, whose paper is white. Returns a function that ends it. */
export function onColours(redraw) {
  const printing = (on) => () => {
    root.classList.toggle("printing", on);
    redraw();
  };
  const heard = { themechange: redraw, beforeprint: printing(true), afterprint: printing(false) };
  for (const [name, listener] of Object.entries(heard)) addEventListener(name, listener);
  return () => Object.entries(heard).forEach(([name, listener]) => removeEventListener(name, listener));
}

/** The colour that a custom property of the style sheet has now. */
export function colour(name) {
  return getComputedStyle(root).getPropertyValue(`--${name}`).trim();
}
