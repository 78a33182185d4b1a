// The bar below the market: live or an instant, with a slider over one day, steps, and speeds.

import { ask } from "./api.ts";
import { h, icon, mark, say } from "./dom.ts";
import { formatTime, nowNs, parseTime } from "./times.ts";
import type { Page, Tick } from "./wire.ts";

const SPEEDS = [0.1, 0.5, 1, 2, 5, 10, 50, 100];
const MS = 1_000_000n;
const DAY = 86_400_000n * MS;
const MOST_DAYS = 400n;

export interface TimebarActions {
  live(): void;
  seek(at: bigint): void;
  step(by: 1 | -1): void;
  play(): void;
  speed(factor: number): void;
}

export class Timebar {
  readonly #actions: TimebarActions;
  readonly #live: HTMLElement;
  readonly #days: HTMLSelectElement;
  readonly #slider: HTMLInputElement;
  readonly #time: HTMLInputElement;
  readonly #play: HTMLElement;
  readonly #speed: HTMLSelectElement;
  readonly #note: HTMLElement;
  #stored: [first: bigint, last: bigint] | null = null; // receive times of what is stored
  #first = 0n; // of the slider
  #playing = false;

  constructor(root: HTMLElement, actions: TimebarActions) {
    this.#actions = actions;
    const button = (label: string, name: Parameters<typeof icon>[0], act: () => void): HTMLElement =>
      h("button", { class: "icon", "aria-label": label, title: label, onclick: act }, icon(name));
    this.#live = h("button", { class: "live", onclick: () => actions.live(), title: "Back to live (Esc)" }, "Live");
    this.#days = h("select", { "aria-label": "Day", onchange: () => this.#pickDay() });
    this.#slider = h("input", {
      type: "range",
      min: "0",
      max: "1000",
      value: "1000",
      step: "1",
      "aria-label": "Instant within the day",
      oninput: () => actions.seek(this.#first + BigInt(this.#slider.value) * MS),
    });
    this.#time = h("input", {
      type: "text",
      class: "instant",
      spellcheck: "false",
      autocomplete: "off",
      "aria-label": "Instant, RFC 3339 or nanoseconds",
      onchange: () => this.#typed(),
    });
    this.#play = button("Play or pause (Space)", "play", () => actions.play());
    this.#speed = h("select", { "aria-label": "Speed", onchange: () => actions.speed(Number(this.#speed.value)) });
    for (const speed of SPEEDS) this.#speed.append(h("option", { value: String(speed) }, `×${speed}`));
    this.#speed.value = "1";
    this.#note = h("span", { class: "note", role: "status" });
    root.append(
      this.#live,
      h(
        "span",
        { class: "transport" },
        button("Step back (←)", "back", () => actions.step(-1)),
        this.#play,
        button("Step on (→)", "on", () => actions.step(1)),
        this.#speed,
      ),
      this.#days,
      this.#slider,
      this.#time,
      this.#note,
    );
  }

  /** Offer the days of a symbol. */
  async open(venue: string, symbol: string): Promise<void> {
    this.#stored = null;
    this.#days.replaceChildren();
    const end = (newest: boolean): Promise<bigint | null> =>
      ask<Page<Tick>>("history/ticks", { venue, symbol, limit: 1, newest, columns: "recv_ns,seq" })
        .then((page) => (page.data[0] ? BigInt(page.data[0].recv_ns!) : null))
        .catch(() => null);
    const [first, last] = await Promise.all([end(false), end(true)]);
    if (first === null || last === null) return;
    this.#stored = [first, last];
    const oldest = first / DAY > last / DAY - MOST_DAYS ? first / DAY : last / DAY - MOST_DAYS;
    for (let day = last / DAY; day >= oldest; day--) {
      const text = formatTime(day * DAY).slice(0, 10);
      this.#days.append(h("option", { value: text }, text));
    }
    this.#range();
    this.#slider.value = this.#slider.max;
  }

  /** Faster (1) or slower (-1). */
  faster(by: 1 | -1): void {
    const at = Math.max(0, Math.min(SPEEDS.length - 1, this.#speed.selectedIndex + by));
    this.#speed.selectedIndex = at;
    this.#actions.speed(SPEEDS[at]!);
  }

  /** Show an instant; null: live. */
  show(at: bigint | null, playing: boolean, note: string): void {
    mark(this.#live, "on", at === null ? "" : null);
    this.#live.setAttribute("aria-pressed", String(at === null));
    if (this.#playing !== playing) this.#play.replaceChildren(icon(playing ? "pause" : "play"));
    this.#playing = playing;
    say(this.#note, note);
    const shown = formatTime(at ?? nowNs());
    if (document.activeElement !== this.#time) this.#time.value = at === null ? `${shown.slice(0, 19)}Z` : shown;
    this.#slider.setAttribute("aria-valuetext", at === null ? "live" : shown);
    if (at === null) {
      this.#slider.value = this.#slider.max;
      return;
    }
    const day = shown.slice(0, 10);
    if (this.#days.value !== day && [...this.#days.options].some((one) => one.value === day)) this.#days.value = day;
    this.#range();
    this.#slider.value = String((at - this.#first) / MS);
  }

  /** The slider spans the day, as far as something is stored of it. */
  #range(): void {
    const day = parseTime(this.#days.value);
    if (!this.#stored || day === null) return;
    const now = nowNs();
    const last = now / DAY === day / DAY ? now : this.#stored[1];
    this.#first = this.#stored[0] > day ? this.#stored[0] : day;
    const end = last < day + DAY ? last : day + DAY;
    this.#slider.max = String((end - this.#first) / MS + 1n);
  }

  #pickDay(): void {
    this.#range();
    this.#actions.seek(this.#first + (BigInt(this.#slider.max) / 2n) * MS);
  }

  #typed(): void {
    const at = parseTime(this.#time.value);
    this.#time.setAttribute("aria-invalid", String(at === null));
    if (at !== null) this.#actions.seek(at);
  }
}
