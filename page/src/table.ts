// A table in a box: heads once, rows as they come. A head that ends with # is of a column of numbers.

import { h } from "./dom.ts";

type Cell = string | Node;

export class Table {
  readonly box: HTMLElement;
  readonly body = h("tbody");
  readonly #heads: string[];

  constructor(title: string, heads: string[]) {
    this.#heads = heads;
    const head = h(
      "tr",
      {},
      ...heads.map((text, at) => h("th", { scope: "col", class: this.#kind(at) }, text.replace("#", ""))),
    );
    this.box = h(
      "div",
      { class: "scroll", tabindex: "0", role: "group", "aria-label": title },
      h("table", {}, h("thead", {}, head), this.body),
    );
  }

  /** One row, which the caller adds. `tones`: classes by column. */
  row(cells: Cell[], tones: Record<number, string> = {}): HTMLTableRowElement {
    return h(
      "tr",
      {},
      ...cells.map((cell, at) => h("td", { class: `${this.#kind(at)} ${tones[at] ?? ""}`.trim() }, cell)),
    );
  }

  /** All rows, or what to say where there is none. */
  fill(rows: HTMLElement[], none = "none"): void {
    const nothing = (): HTMLElement =>
      h("tr", {}, h("td", { colspan: String(this.#heads.length), class: "note" }, none));
    this.body.replaceChildren(...(rows.length ? rows : [nothing()]));
  }

  /** With a title above and a note beside that. */
  panel(title: string, note = ""): HTMLElement {
    return panel(title, note, this.box);
  }

  #kind(at: number): string {
    return this.#heads[at]?.endsWith("#") ? "num" : "";
  }
}

export function panel(title: string, note: string, ...content: HTMLElement[]): HTMLElement {
  const head = h(
    "div",
    { class: "panel-head" },
    h("h2", {}, title),
    h("span", { class: "grow" }),
    h("span", { class: "note" }, note),
  );
  return h("div", { class: "panel" }, head, ...content);
}
