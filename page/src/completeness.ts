// The completeness view: a calendar of symbol × day, the gaps of one day, and the records around one gap.

import { ask, Latest, messageOf } from "./api.ts";
import { causeOf } from "./book.ts";
import { h, mark, say } from "./dom.ts";
import { Table } from "./table.ts";
import { clockText, durationText, formatTime, nowNs, parseTime } from "./times.ts";
import { type CoverageDay, type Gap, type Page, statusOf, type Tick } from "./wire.ts";

const DAYS = 31;
const DAY_MS = 86_400_000;
const GAPS = 50;
const AROUND = 7;
const DATA = "kind not in (gap, status, checksum)";
const WORDS = { complete: "complete", gaps: "with gaps", missing: "missing", removed: "removed by retention" };

export class Completeness {
  readonly #calendar = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Calendar" });
  readonly #note = h("span", { class: "note", role: "status" });
  readonly #detail = h("div", { class: "panel detail", hidden: true });
  readonly #search: HTMLInputElement;
  readonly #month = h("b", { class: "month" });
  readonly #reading = new Latest();
  readonly #details = new Latest();
  #last = Math.floor(Date.now() / DAY_MS); // the day at the right end, since the epoch
  #days: CoverageDay[] = [];
  #chosen = "";

  constructor(root: HTMLElement) {
    this.#search = h("input", {
      type: "search",
      placeholder: "Filter symbols",
      "aria-label": "Filter symbols",
      oninput: () => this.#draw(),
    });
    const move = (by: number): void => {
      this.#last = Math.min(this.#last + by, Math.floor(Date.now() / DAY_MS));
      void this.#read();
    };
    const legend = Object.entries(WORDS).map(([state, words]) =>
      h("span", { class: "legend" }, h("i", { class: "cell", "data-state": state }), words),
    );
    root.append(
      h("h1", {}, "Completeness"),
      h(
        "div",
        { class: "panel" },
        h(
          "div",
          { class: "panel-head" },
          h("button", { "aria-label": "Earlier", onclick: () => move(-DAYS) }, "‹"),
          this.#month,
          h("button", { "aria-label": "Later", onclick: () => move(DAYS) }, "›"),
          this.#search,
          h("span", { class: "grow" }),
          this.#note,
        ),
        this.#calendar,
        h("div", { class: "panel-head legends" }, ...legend),
      ),
      this.#detail,
    );
  }

  /** `words`: venue, symbol and day to open. */
  show(on: boolean, words: string[]): void {
    if (!on) return this.#reading.cancel();
    const day = words[2];
    this.#chosen = words.slice(0, 3).join("/");
    if (day && /^\d{4}-\d\d-\d\d$/.test(day)) {
      const wanted = Math.floor(Date.parse(day) / DAY_MS);
      if (wanted > this.#last || wanted <= this.#last - DAYS) this.#last = wanted;
    }
    void this.#read();
  }

  async #read(): Promise<void> {
    const signal = this.#reading.next();
    const days = this.#span();
    say(this.#month, `${days[0]} – ${days.at(-1)}`);
    say(this.#note, "reading the store");
    try {
      const end = new Date((this.#last + 1) * DAY_MS).toISOString().slice(0, 10);
      this.#days = (await ask<{ coverage: CoverageDay[] }>("coverage", { start: days[0], end }, signal)).coverage;
      const gaps = this.#days.reduce((sum, day) => sum + day.gaps.reduce((all, gap) => all + gap.gaps, 0), 0);
      say(this.#note, `${this.#days.length} symbol days, ${gaps.toLocaleString("en")} gaps`);
    } catch (error) {
      if (signal.aborted) return;
      this.#days = [];
      say(this.#note, messageOf(error));
    }
    this.#draw();
    this.#open();
  }

  #span(): string[] {
    return Array.from({ length: DAYS }, (_, n) =>
      new Date((this.#last - DAYS + 1 + n) * DAY_MS).toISOString().slice(0, 10),
    );
  }

  #draw(): void {
    const span = this.#span();
    const wanted = this.#search.value.toLowerCase();
    const symbols = Map.groupBy(this.#days, (day) => `${day.venue} ${day.symbol}`);
    const heads = span.map((day) =>
      h("th", { scope: "col", title: day, "data-weekend": [0, 6].includes(new Date(day).getUTCDay()) }, day.slice(8)),
    );
    const rows = [...symbols]
      .filter(([name]) => name.toLowerCase().includes(wanted))
      .sort()
      .map(([name, days]) => {
        const by = new Map(days.map((day) => [day.day, day]));
        const [venue, symbol] = name.split(" ");
        const cells = span.map((day) => h("td", {}, cellOf(by.get(day), this.#chosen)));
        return h(
          "tr",
          {},
          h("th", { scope: "row" }, symbol ?? "", h("span", { class: "note" }, ` ${venue}`)),
          ...cells,
        );
      });
    const table = h(
      "table",
      { class: "calendar" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "symbol"), ...heads)),
      h("tbody", {}, ...rows),
    );
    this.#calendar.replaceChildren(
      rows.length ? table : h("p", { class: "note empty" }, "nothing is stored of these days"),
    );
    this.#calendar.scrollLeft = this.#calendar.scrollWidth;
  }

  #open(): void {
    const day = this.#days.find((one) => keyOf(one) === this.#chosen);
    this.#detail.hidden = !day;
    if (day) void this.#openDay(day).catch(() => undefined);
  }

  async #openDay(day: CoverageDay): Promise<void> {
    const signal = this.#details.next();
    const fact = (name: string, text: string): HTMLElement => h("div", {}, h("dt", {}, name), h("dd", {}, text));
    const [first, last] = [day.first, day.last].map((time) => (time ? clockText(parseTime(time) ?? 0n) : "–"));
    const facts = h(
      "dl",
      {},
      fact("State", WORDS[day.state]),
      fact("Records", day.records.toLocaleString("en")),
      fact("First", first!),
      fact("Last", last!),
    );
    this.#detail.replaceChildren(
      h(
        "div",
        { class: "panel-head" },
        h("h2", {}, `${day.symbol} · ${day.day}`),
        h("span", { class: "grow" }),
        marketLink(day, day.first, "open in the time machine"),
      ),
      h("div", { class: "facts" }, facts),
    );
    if (!day.gaps.length) return;
    const causes = new Table("Gaps by cause", ["cause", "streams", "gaps#", "records missing#", "length#"]);
    const each = new Table("Each gap", ["time", "cause", "streams", "missing#", "length#", "last id#", "next id#", ""]);
    const more = h("div", { class: "panel-head" });
    causes.fill(
      day.gaps.map((gap) =>
        causes.row([
          wordsOf(gap.cause),
          gap.stream,
          gap.gaps.toLocaleString("en"),
          missingText(gap.gaps === gap.unknown ? null : gap.missing),
          durationText(Number(gap.length_s)),
        ]),
      ),
    );
    this.#detail.append(causes.box, each.box, more);
    await this.#addGaps(day, each, more, undefined, signal);
  }

  async #addGaps(
    day: CoverageDay,
    table: Table,
    more: HTMLElement,
    after: string | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const start = parseTime(day.day) ?? 0n;
    const query = { venue: day.venue, symbol: day.symbol, start, end: start + BigInt(DAY_MS) * 1_000_000n };
    const page = await ask<{ gaps: Gap[]; next: string | null }>("gaps", { ...query, limit: GAPS, after }, signal);
    const lengths = page.gaps.map((gap) => {
      const length = h("span", {}, "…");
      const button = h("button", { "aria-expanded": "false", onclick: () => void toggle() }, "records");
      const [last, next] = [gap.last_id, gap.next_id].map((id) => (id === "0" ? "–" : id));
      const line = table.row([
        clockText(parseTime(gap.ts_recv) ?? 0n, 9),
        wordsOf(gap.cause),
        gap.streams.join(", "),
        missingText(gap.missing),
        length,
        last!,
        next!,
        button,
      ]);
      const toggle = async (): Promise<void> => {
        const open = button.getAttribute("aria-expanded") === "true";
        button.setAttribute("aria-expanded", String(!open));
        if (open) return line.nextElementSibling?.remove();
        line.after(h("tr", {}, h("td", { colspan: "8" }, await recordsAround(gap, signal))));
      };
      table.body.append(line);
      return [gap, length] as const;
    });
    const further = page.gaps.length === GAPS ? page.next : null;
    more.replaceChildren(
      ...(further
        ? [h("button", { onclick: () => void this.#addGaps(day, table, more, further, signal) }, "more gaps")]
        : []),
    );
    for (const [gap, cell] of lengths) say(cell, await lengthOf(gap, signal).catch(() => "–"));
  }
}

function keyOf(day: CoverageDay): string {
  return `${day.venue}/${day.symbol}/${day.day}`;
}

function cellOf(day: CoverageDay | undefined, chosen: string): HTMLElement {
  if (!day) return h("i", { class: "cell", "data-state": "none" });
  const gaps = day.gaps.reduce((sum, gap) => sum + gap.gaps, 0);
  const seconds = day.gaps.reduce((sum, gap) => sum + Number(gap.length_s), 0);
  const words = `${day.symbol} ${day.day}: ${WORDS[day.state]}${gaps ? `, ${gaps} gaps, ${durationText(seconds)}` : ""}`;
  const text = { complete: "", gaps: gaps > 99 ? "99+" : String(gaps), missing: "×", removed: "–" }[day.state];
  const cell = h(
    "a",
    {
      class: "cell",
      href: `#/completeness/${[day.venue, day.symbol, day.day].map(encodeURIComponent).join("/")}`,
      "data-state": day.state,
      "aria-label": words,
      title: words,
    },
    text,
  );
  // How much of the day is gone: a second as good as nothing, an hour and more in full colour.
  if (day.state === "gaps")
    cell.style.setProperty(
      "--share",
      `${Math.round(Math.min(1, Math.log10(1 + seconds) / Math.log10(3600)) * 27 + 18)}%`,
    );
  if (keyOf(day) === chosen) cell.setAttribute("aria-current", "true");
  return cell;
}

function missingText(missing: number | null): string {
  return missing === null ? "unknown" : missing.toLocaleString("en");
}

function wordsOf(cause: string): string {
  return cause.replace("_", " ");
}

function marketLink(of: { venue: string; symbol: string }, time: string | null, text: string): HTMLElement {
  const href = `#/market/${encodeURIComponent(of.venue)}/${encodeURIComponent(of.symbol)}?at=${time ?? formatTime(nowNs())}`;
  return h("a", { href }, text);
}

/** From the last data before a gap to its record. */
async function lengthOf(gap: Gap, signal: AbortSignal): Promise<string> {
  const query = { venue: gap.venue, symbol: gap.symbol, end: gap.ts_recv, newest: true, limit: 1 };
  const page = await ask<Page<Tick>>("history/ticks", { ...query, where: DATA, columns: "recv_ns,seq" }, signal);
  const before = page.data[0]?.recv_ns;
  return before ? durationText(Number((parseTime(gap.ts_recv) ?? 0n) - BigInt(before)) / 1e9) : "from the beginning";
}

async function recordsAround(gap: Gap, signal: AbortSignal): Promise<HTMLElement> {
  const query = { venue: gap.venue, symbol: gap.symbol };
  const at = parseTime(gap.ts_recv) ?? 0n;
  const [before, behind] = await Promise.all([
    // By seq: a snapshot behind a gap may have hundreds of records of the same time.
    ask<Page<Tick>>(
      "history/ticks",
      { ...query, end: at + 1n, newest: true, where: `seq <= ${gap.seq}`, limit: AROUND },
      signal,
    ),
    ask<Page<Tick>>("history/ticks", { ...query, start: at, where: `seq > ${gap.seq}`, limit: AROUND }, signal),
  ]);
  const table = new Table("Records around the gap", ["seq#", "received", "kind", "side", "price or what#", "size#"]);
  for (const tick of [...before.data, ...behind.data]) {
    const price =
      tick.kind === "gap" ? wordsOf(causeOf(tick)) : tick.kind === "status" ? statusOf(tick) : (tick.price ?? "");
    const line = table.row([
      tick.seq.toLocaleString("en"),
      clockText(parseTime(tick.ts_recv) ?? 0n, 9),
      tick.kind,
      tick.side ?? "",
      price,
      tick.size ?? "",
    ]);
    mark(line, "gap", tick.seq === gap.seq ? "" : null);
    table.body.append(line);
  }
  return h("div", { class: "around" }, table.box, marketLink(gap, gap.ts_recv, "the book at this instant"));
}
