// The tape: the newest trades first, in rows that stay where they are, coloured by the aggressor.

import { h, mark, say } from "./dom.ts";
import type { Market } from "./market.ts";
import { clockText, parseTime } from "./times.ts";

const ROW_PX = 20;

interface Row {
  row: HTMLElement;
  time: HTMLElement;
  price: HTMLElement;
  size: HTMLElement;
}

export class Tape {
  readonly #root: HTMLElement;
  #rows: Row[] = [];

  constructor(root: HTMLElement) {
    this.#root = root;
    root.setAttribute("role", "table");
    root.setAttribute("aria-label", "Trades, newest first");
    this.resize();
  }

  /** As many rows as there is room for. True where that has changed. */
  resize(): boolean {
    const phone = matchMedia("(max-width: 760px)").matches;
    const count = phone ? 15 : Math.max(5, Math.min(60, Math.floor(this.#root.clientHeight / ROW_PX) - 1));
    if (count === this.#rows.length) return false;
    const head = h("div", { class: "tape-row tape-head", role: "row" });
    for (const word of ["Price", "Size", "Time"]) head.append(h("span", { role: "columnheader" }, word));
    this.#rows = Array.from({ length: count }, () => {
      const [price, size, time] = ["price", "size", "time"].map((name) => h("span", { class: name, role: "cell" })) as [
        HTMLElement,
        HTMLElement,
        HTMLElement,
      ];
      return { row: h("div", { class: "tape-row", role: "row" }, price, size, time), time, price, size };
    });
    this.#root.replaceChildren(head, ...this.#rows.map(({ row }) => row));
    return true;
  }

  draw(market: Market): void {
    this.#rows.forEach((row, at) => {
      const trade = market.tape[at];
      const ns = trade ? parseTime(trade.time) : null;
      mark(row.row, "side", trade?.note ? "gap" : (trade?.side ?? null));
      say(row.price, trade ? trade.note || market.prices.text(trade.price) : "");
      say(row.size, trade && !trade.note ? market.sizes.text(trade.size) : "");
      say(row.time, ns === null ? "" : clockText(ns));
    });
  }
}
