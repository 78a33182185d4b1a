// The ladder: rows that stay where they are, asks above and bids below, with a bar of the cumulative size behind each.

import { formatDecimal, ratio } from "./decimal.ts";
import type { PriceSize } from "./book.ts";
import { h, mark, say } from "./dom.ts";
import type { Market } from "./market.ts";

const ROW_PX = 20;
const HEAD_PX = 22;
const MIDDLE_PX = 30;
const LEAST_ROWS = 5;
const MOST_ROWS = 40;

interface Row {
  row: HTMLElement;
  price: HTMLElement;
  size: HTMLElement;
  total: HTMLElement;
  bar: HTMLElement;
}

export class Ladder {
  readonly #root: HTMLElement;
  readonly #middle = h("div", { class: "ladder-middle", role: "row" });
  readonly #spread = h("span", { role: "cell" });
  #bids: Row[] = [];
  #asks: Row[] = [];

  constructor(root: HTMLElement) {
    this.#root = root;
    root.setAttribute("role", "table");
    root.setAttribute("aria-label", "Order book");
    this.#middle.append(this.#spread);
    this.resize();
  }

  /** As many rows as there is room for. True where that has changed. */
  resize(): boolean {
    const phone = matchMedia("(max-width: 760px)").matches;
    const room = this.#root.clientHeight - HEAD_PX - MIDDLE_PX;
    const fitting = phone ? 10 : Math.floor(room / 2 / ROW_PX);
    const count = Math.max(LEAST_ROWS, Math.min(MOST_ROWS, fitting));
    const height = phone ? "" : `${Math.floor(room / 2 / count)}px`;
    this.#root.style.setProperty("--row", height);
    if (count === this.#bids.length) return false;
    this.#asks = Array.from({ length: count }, () => makeRow("ask"));
    this.#bids = Array.from({ length: count }, () => makeRow("bid"));
    const head = h("div", { class: "ladder-row ladder-head", role: "row" });
    for (const word of ["Price", "Size", "Total"]) head.append(h("span", { role: "columnheader" }, word));
    const rows = (side: Row[]): HTMLElement[] => side.map(({ row }) => row);
    this.#root.replaceChildren(head, ...rows(this.#asks).reverse(), this.#middle, ...rows(this.#bids));
    return true;
  }

  draw(market: Market): void {
    const { book, prices, sizes } = market;
    const bids = book.bids.best(this.#bids.length);
    const asks = book.asks.best(this.#asks.length);
    const sum = (levels: PriceSize[]): bigint => levels.reduce((total, [, size]) => total + size, 0n);
    const [bidTotal, askTotal] = [sum(bids), sum(asks)];
    const most = bidTotal > askTotal ? bidTotal : askTotal;
    for (const [rows, levels] of [
      [this.#bids, bids],
      [this.#asks, asks],
    ] as const) {
      for (const [price, size] of levels) {
        prices.see(price);
        sizes.see(size);
      }
      let total = 0n;
      rows.forEach((row, at) => {
        const level = levels[at];
        total += level?.[1] ?? 0n;
        say(row.price, level ? prices.text(level[0]) : "");
        say(row.size, level ? sizes.text(level[1]) : "");
        say(row.total, level ? sizes.text(total) : "");
        row.bar.style.transform = `scaleX(${level ? ratio(total, most) : 0})`;
        mark(row.row, "last", level && level[0] === market.last ? "" : null);
      });
    }
    const [bid, ask] = [bids[0], asks[0]];
    say(this.#spread, bid && ask ? `spread ${formatDecimal(ask[0] - bid[0], prices.count)}` : "no spread");
    mark(this.#root, "seq", book.seq === null ? null : String(book.seq));
    mark(this.#root, "epoch", book.epoch === null ? null : String(book.epoch));
    mark(this.#root, "recv", book.recv);
    mark(this.#root, "state", book.state);
  }
}

function makeRow(side: "bid" | "ask"): Row {
  const bar = h("i", { class: "bar" });
  const [price, size, total] = ["price", "size", "total"].map((name) => h("span", { class: name, role: "cell" })) as [
    HTMLElement,
    HTMLElement,
    HTMLElement,
  ];
  const row = h("div", { class: "ladder-row", role: "row", "data-side": side }, bar, price, size, total);
  return { row, price, size, total, bar };
}
