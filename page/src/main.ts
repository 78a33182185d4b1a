// The page: which view stands in the address, keys, the state of the plant, and log-in where the gateway wants a token.

import "./style.css";
import { ApiError, logIn, logOut, messageOf, watchRefusals } from "./api.ts";
import { Completeness } from "./completeness.ts";
import { by, h, mark, say } from "./dom.ts";
import { Health } from "./health.ts";
import { Picker } from "./picker.ts";
import { Screen } from "./screen.ts";
import { startTheme } from "./theme.ts";
import { formatTime, parseTime } from "./times.ts";
import type { Instrument } from "./wire.ts";

const LOGGED_IN = "tickplant.logged-in"; // the page cannot see its cookie
const VIEWS = ["market", "health", "completeness"];
const KEYS: [string, string][] = [
  ["/", "choose an instrument"],
  ["1 2 3", "market, health, completeness"],
  ["T", "time machine: the market as it was a minute ago"],
  ["Space", "play or pause"],
  ["← →", "step by record: back, on"],
  ["[ ]", "slower, faster"],
  ["Esc", "back to live"],
  ["D", "dark or light"],
  ["?", "this"],
];

const toggleTheme = startTheme(by("theme"));
const screen = new Screen((at) => remember(at));
const health = new Health(by("health"), by("plant"));
const completeness = new Completeness(by("completeness"));
const picker = new Picker((one) => {
  location.hash = `#/market/${encodeURIComponent(one.venue)}/${encodeURIComponent(one.symbol)}`;
});
let shown: Instrument | null = null;

/** Keep the instant in the address, so that it can be sent to somebody. */
function remember(at: bigint | null): void {
  if (!shown || by("market").hidden) return;
  const query = at === null ? "" : `?at=${formatTime(at)}`;
  history.replaceState(
    null,
    "",
    `#/market/${encodeURIComponent(shown.venue)}/${encodeURIComponent(shown.symbol)}${query}`,
  );
}

/** Show what the address says: #/market/VENUE/SYMBOL?at=TIME, #/health, #/completeness/VENUE/SYMBOL/DAY. */
async function route(): Promise<void> {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [named = "", ...words] = path.split("/").map(decodeURIComponent);
  const view = VIEWS.includes(named) ? named : "market";
  for (const name of VIEWS) by(name).hidden = name !== view;
  for (const link of document.querySelectorAll<HTMLElement>("[data-view]")) {
    if (link.dataset["view"] === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  by("banner").hidden = true;
  health.show(view === "health");
  completeness.show(view === "completeness", words);
  if (view === "market") await openMarket(words, parseTime(new URLSearchParams(query).get("at") ?? ""));
}

async function openMarket([venue, symbol]: string[], at: bigint | null): Promise<void> {
  const same = shown !== null && venue === shown.venue && symbol === shown.symbol;
  if (shown && (!venue || (same && at === screen.at))) {
    remember(screen.at);
    return screen.shown();
  }
  const all = await picker.load();
  const found = venue ? all.find((one) => one.venue === venue && one.symbol === symbol) : (shown ?? all[0]);
  if (!found) {
    say(by("freshness"), "nothing to show");
    return void picker.open();
  }
  shown = found;
  say(by("picked"), found.symbol);
  screen.open(found, at);
}

function guarded(work: Promise<void>): void {
  work.catch((error: unknown) => {
    if (error instanceof ApiError && (error.status === 401 || error.status === 403)) return askToken(error.message);
    say(by("banner"), messageOf(error));
    mark(by("banner"), "state", "down");
    by("banner").hidden = false;
    setTimeout(() => guarded(route()), 2000);
  });
}

function askToken(detail: string): void {
  const dialog = by<HTMLDialogElement>("login");
  if (dialog.open) return;
  const token = h("input", {
    type: "password",
    autocomplete: "current-password",
    "aria-label": "Token",
    "aria-describedby": "refusal",
  });
  const trouble = h("p", { id: "refusal", role: "alert" }, detail);
  const enter = (): void => {
    logIn(token.value).then(
      () => {
        localStorage.setItem(LOGGED_IN, "");
        dialog.close();
        guarded(route());
      },
      (error: unknown) => {
        say(trouble, messageOf(error));
        token.setAttribute("aria-invalid", "true");
        token.select();
      },
    );
  };
  token.addEventListener("keydown", (event) => event.key === "Enter" && enter());
  dialog.oncancel = (event) => event.preventDefault(); // behind it there is nothing to see
  dialog.replaceChildren(
    h("h2", {}, "This gateway needs a token"),
    token,
    trouble,
    h("p", { class: "note" }, "The browser keeps the token as a cookie until you close the browser or log out (?)."),
    h("button", { onclick: enter }, "Log in"),
  );
  dialog.showModal();
}

function leave(trouble: HTMLElement): void {
  logOut().then(
    () => {
      localStorage.removeItem(LOGGED_IN);
      location.reload();
    },
    (error: unknown) => say(trouble, messageOf(error)),
  );
}

function about(): void {
  const dialog = by<HTMLDialogElement>("about");
  const rows = KEYS.map(([keys, what]) =>
    h("div", {}, h("dt", {}, ...keys.split(" ").map((key) => h("kbd", {}, key))), h("dd", {}, what)),
  );
  const trouble = h("p", { role: "alert" });
  const link = (href: string, text: string): HTMLElement =>
    h("a", { href, target: "_blank", rel: "noopener noreferrer" }, text);
  dialog.replaceChildren(
    h("h2", {}, "Keys"),
    h("dl", {}, ...rows),
    h(
      "p",
      { class: "note" },
      "All times are UTC, by receive time. Prices and sizes are exact. The same by program: ",
      h("a", { href: "/docs" }, "routes"),
      ", ",
      h("a", { href: "/openapi.json" }, "OpenAPI"),
      ", ",
      h("a", { href: "/metrics" }, "metrics"),
      ".",
    ),
    h(
      "p",
      { class: "note" },
      "Candles: TradingView Lightweight Charts™, © 2025 ",
      link("https://www.tradingview.com/", "TradingView, Inc."),
      ", Apache-2.0. Small plots: uPlot, © Leon Sorokin, MIT. ",
      h("a", { href: "/licences.txt" }, "Licences"),
      ".",
    ),
    trouble,
    h(
      "div",
      { class: "buttons" },
      localStorage.getItem(LOGGED_IN) === null ? null : h("button", { onclick: () => leave(trouble) }, "Log out"),
      h("button", { autofocus: true, onclick: () => dialog.close() }, "Close"),
    ),
  );
  dialog.showModal();
}

function onKey(event: KeyboardEvent): void {
  const target = event.target instanceof Element ? (event.target as HTMLElement) : document.body;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = target.matches("input:not([type=range]), select, textarea");
  if (event.key === "Escape" && typing) return target.blur();
  if (typing) return;
  const market = !by("market").hidden;
  const act = {
    "/": () => void picker.open(),
    "?": about,
    d: toggleTheme,
    1: () => (location.hash = "#/market"),
    2: () => (location.hash = "#/health"),
    3: () => (location.hash = "#/completeness"),
    ...(market && {
      t: () => screen.play(),
      Escape: () => screen.at !== null && screen.goLive(),
      ArrowLeft: () => screen.step(-1),
      ArrowRight: () => screen.step(1),
      "[": () => screen.faster(-1),
      "]": () => screen.faster(1),
      " ": () => !target.matches("button, a") && screen.play(),
    }),
  }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || (event.key === " " && target.matches("button, a"))) return;
  event.preventDefault();
  act();
}

by("pick").addEventListener("click", () => void picker.open());
by("help").addEventListener("click", about);
document.addEventListener("keydown", onKey);
watchRefusals(askToken);
addEventListener("hashchange", () => guarded(route()));
guarded(route());
