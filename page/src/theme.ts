// Dark or light: as the system has it, unless the reader has switched. Canvases ask here for the colours of the CSS.

import { icon } from "./dom.ts";

const KEY = "tickplant.theme";
const watchers: (() => void)[] = [];
const dark = matchMedia("(prefers-color-scheme: dark)");
const probe = document.createElement("i");

export function isDark(): boolean {
  const chosen = document.documentElement.dataset["theme"];
  return chosen ? chosen === "dark" : dark.matches;
}

/** The colour of a custom property as rgb text. */
export function colour(name: string, alpha = 1): string {
  if (!probe.isConnected) {
    probe.hidden = true;
    document.body.append(probe);
  }
  probe.style.color = `var(--${name})`;
  const rgb = getComputedStyle(probe).color.match(/[\d.]+/g) ?? ["128", "128", "128"];
  return `rgba(${rgb[0]}, ${rgb[1]}, ${rgb[2]}, ${alpha})`;
}

/** Calls `watcher` after each switch. */
export function onTheme(watcher: () => void): void {
  watchers.push(watcher);
}

function changed(): void {
  for (const watcher of watchers) watcher();
}

export function startTheme(button: HTMLElement): () => void {
  const show = (): void => {
    button.replaceChildren(icon(isDark() ? "sun" : "moon"));
    button.title = isDark() ? "Light (D)" : "Dark (D)";
  };
  const chosen = localStorage.getItem(KEY);
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset["theme"] = chosen;
  const toggle = (): void => {
    const next = isDark() ? "light" : "dark";
    document.documentElement.dataset["theme"] = next;
    localStorage.setItem(KEY, next);
    show();
    changed();
  };
  dark.addEventListener("change", () => {
    show();
    changed();
  });
  button.addEventListener("click", toggle);
  let screen: string | undefined;
  addEventListener("beforeprint", () => {
    screen = document.documentElement.dataset["theme"];
    document.documentElement.dataset["theme"] = "light"; // canvases too
    changed();
  });
  addEventListener("afterprint", () => {
    if (screen === undefined) delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = screen;
    changed();
  });
  show();
  return toggle;
}
