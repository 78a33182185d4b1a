// The instrument picker: type a part of a name, arrows and Enter.

import { ask } from "./api.ts";
import { by, h } from "./dom.ts";
import type { Instrument } from "./wire.ts";

const MOST = 200; // rows shown at once

export class Picker {
  readonly #dialog = by<HTMLDialogElement>("picker");
  readonly #search: HTMLInputElement;
  readonly #list = h("ul", { id: "found", role: "listbox", "aria-label": "Instruments" });
  readonly #pick: (instrument: Instrument) => void;
  #all: Instrument[] = [];
  #found: Instrument[] = [];
  #at = 0;

  constructor(pick: (instrument: Instrument) => void) {
    this.#pick = pick;
    this.#search = h("input", {
      type: "search",
      placeholder: "Search symbols and venues",
      role: "combobox",
      "aria-expanded": "true",
      "aria-controls": "found",
      "aria-label": "Search instruments",
      autocomplete: "off",
      spellcheck: "false",
      oninput: () => this.#filter(),
      onkeydown: (event: KeyboardEvent) => this.#key(event),
    });
    this.#dialog.append(this.#search, this.#list);
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
  }

  /** Read the instruments again. */
  async load(): Promise<Instrument[]> {
    const found = (await ask<{ instruments: Instrument[] }>("instruments")).instruments;
    this.#all = found.sort((a, b) => Number(b.live) - Number(a.live) || a.symbol.localeCompare(b.symbol));
    return this.#all;
  }

  async open(): Promise<void> {
    if (this.#dialog.open) return;
    this.#dialog.showModal();
    this.#search.value = "";
    this.#filter();
    this.#search.focus();
    await this.load().catch(() => undefined);
    this.#filter();
  }

  #filter(): void {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.#found = this.#all.filter((one) =>
      words.every((word) => `${one.venue} ${one.symbol}`.toLowerCase().includes(word)),
    );
    this.#at = 0;
    this.#list.replaceChildren(
      ...this.#found
        .slice(0, MOST)
        .map((one, at) =>
          h(
            "li",
            { role: "option", id: `found-${at}`, onclick: () => this.#take(at) },
            h("b", {}, one.symbol),
            h("span", { class: "note" }, one.venue),
            h("span", { class: "tags" }, one.channels.map((channel) => channel.replace("_", " ")).join(" · ")),
            h("span", { class: "pill", "data-state": one.live ? "live" : "wait" }, one.live ? "live" : "stored"),
          ),
        ),
    );
    if (this.#found.length > MOST)
      this.#list.append(h("li", { class: "note" }, `and ${this.#found.length - MOST} more`));
    if (!this.#found.length)
      this.#list.append(
        h("li", { class: "note" }, this.#all.length ? "nothing has that name" : "nothing is recorded yet"),
      );
    this.#select();
  }

  #key(event: KeyboardEvent): void {
    const by_ = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by_) this.#at = Math.max(0, Math.min(Math.min(this.#found.length, MOST) - 1, this.#at + by_));
    else if (event.key === "Enter") return this.#take(this.#at);
    else return;
    event.preventDefault();
    this.#select();
  }

  #select(): void {
    for (const [at, row] of [...this.#list.children].entries())
      row.setAttribute("aria-selected", String(at === this.#at));
    this.#search.setAttribute("aria-activedescendant", `found-${this.#at}`);
    this.#list.children[this.#at]?.scrollIntoView({ block: "nearest" });
  }

  #take(at: number): void {
    const one = this.#found[at];
    if (!one) return;
    this.#dialog.close();
    this.#pick(one);
  }
}
