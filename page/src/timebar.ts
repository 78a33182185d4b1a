// The bar below the market: live or an instant, with a slider over one day, steps, and speeds.

import { ask } from "./api.ts";
import { h, icon, mark, say } from "./dom.ts";
import { formatTime, nowNs, parseTime } from "./times.ts";
import type { CoverageDay } from "./wire.ts";

const SPEEDS = [0.1, 0.5, 1, 2, 5, 10, 50, 100];
const MS = 1_000_000n;

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
  #coverage: CoverageDay[] = [];
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
    this.#coverage = [];
    this.#days.replaceChildren();
    const found = await ask<{ coverage: CoverageDay[] }>("coverage", { venue, symbol }).catch(() => null);
    this.#coverage = (found?.coverage ?? []).filter((day) => day.first && day.last).reverse();
    this.#days.replaceChildren(...this.#coverage.map(({ day }) => h("option", { value: day }, day)));
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
    if (at === null) {
      this.#slider.value = this.#slider.max;
      return;
    }
    const day = shown.slice(0, 10);
    if (this.#days.value !== day && this.#coverage.some((one) => one.day === day)) this.#days.value = day;
    this.#range();
    this.#slider.value = String((at - this.#first) / MS);
  }

  #range(): void {
    const day = this.#coverage.find((one) => one.day === this.#days.value) ?? this.#coverage[0];
    if (!day?.first || !day.last) return;
    const today = day.day === formatTime(nowNs()).slice(0, 10);
    this.#first = parseTime(day.first) ?? 0n;
    const last = today ? nowNs() : (parseTime(day.last) ?? 0n);
    this.#slider.max = String((last - this.#first) / MS + 1n);
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
