// The health view: processes, rates, latencies, rings, disk, freshness; and the pill about the plant in every view.

import { ask, askMetrics, messageOf } from "./api.ts";
import { h, mark, say } from "./dom.ts";
import { between, type Buckets, bucketsOf, parseMetrics, quantile, type Sample } from "./metrics.ts";
import { RatePlot } from "./plots.ts";
import { panel, Table } from "./table.ts";
import { durationText } from "./times.ts";
import type { Process, Ring, Status } from "./wire.ts";

const POLL_MS = 2_000;
const WINDOW_MS = 60_000; // of the latencies
const RATE_MS = 5_000; // of the rates: processes report their counts about once a second
const STAGES: [string, string, string][] = [
  ["stage_venue", "Venue → receive", "two machines' clocks"],
  ["stage_plant", "Receive → published", "feed, ring, engine"],
  ["stage_durable", "Receive → durable", "ring, writer, disk"],
  ["stage_gateway", "Published → gateway", "socket"],
];
/** What a process of each role counts as its work. */
const WORK: Record<string, [counter: string, unit: string]> = {
  feed: ["ticks", "ticks"],
  engine: ["records", "ticks"],
  writer: ["records", "records"],
  gateway: ["events_bytes", "bytes"],
};

interface Reading {
  at: number;
  status: Status;
  stages: Map<string, Buckets>;
}

export class Health {
  readonly #root: HTMLElement;
  readonly #pill: HTMLElement;
  readonly #cards = h("div", { class: "cards" });
  readonly #processes = new Table("Processes", [
    "name",
    "role",
    "state",
    "up#",
    "restarts#",
    "CPU#",
    "memory#",
    "rate#",
    "",
  ]);
  readonly #rings = new Table("Rings", ["ring", "rate#", "reader", "behind#", "occupancy", "most behind#", "lost#"]);
  readonly #stages = new Table("Latency", ["stage", "p50#", "p90#", "p99#", "messages#"]);
  readonly #fresh = new Table("Freshness", ["symbol", "book#", "trade#", "quote#"]);
  readonly #causes = new Table("Gaps", ["feed", "cause", "gaps#"]);
  readonly #trouble = h("p", { class: "banner", role: "status", hidden: true });
  readonly #rates: RatePlot;
  #readings: Reading[] = [];
  #heard = performance.now();
  #on = false;
  readonly #window: HTMLElement;

  constructor(root: HTMLElement, pill: HTMLElement) {
    [this.#root, this.#pill] = [root, pill];
    const rates = h("div", { class: "plot" });
    const key = panel("Records a second", "received, stored", rates);
    key.classList.add("rates");
    const latency = this.#stages.panel("Latency", "upper bounds");
    this.#window = latency.querySelector<HTMLElement>(".note")!;
    this.#root.append(
      h("h1", {}, "Health"),
      this.#trouble,
      this.#cards,
      h("div", { class: "columns" }, key, latency),
      this.#processes.panel("Processes"),
      h(
        "div",
        { class: "columns" },
        this.#rings.panel("Rings", "records"),
        this.#fresh.panel("Freshness", "since the last record"),
      ),
      this.#causes.panel("Gaps recorded since the feed began"),
    );
    this.#rates = new RatePlot(rates);
    setInterval(() => this.#age(), 500);
    void this.#poll();
  }

  show(on: boolean): void {
    this.#on = on;
    if (on) void this.#read().catch(() => undefined);
  }

  async #poll(): Promise<void> {
    await this.#read().catch((error: unknown) => this.#broken(error));
    setTimeout(() => void this.#poll(), POLL_MS);
  }

  async #read(): Promise<void> {
    const status = await ask<Status>("status");
    const metrics = this.#on ? parseMetrics(await askMetrics()) : null;
    this.#heard = performance.now();
    this.#trouble.hidden = true;
    const bad = status.processes.filter((one) => !["running", "done"].includes(one.state) || one.counters["trouble"]);
    mark(this.#pill, "state", status.healthy ? "live" : "down");
    say(
      this.#pill,
      status.healthy
        ? "plant healthy"
        : bad[0]
          ? `${bad[0].name} ${bad[0].counters["trouble"] ? "in trouble" : bad[0].state}`
          : "plant not healthy",
    );
    const stages = new Map(metrics ? STAGES.map(([name]) => [name, bucketsOf(metrics, `${name}_seconds`)]) : []);
    this.#readings.push({ at: performance.now(), status, stages });
    this.#readings = this.#readings.filter((one) => performance.now() - one.at < WINDOW_MS + 2 * POLL_MS);
    const [before, seconds] = this.#earlier();
    if (before)
      this.#rates.add(
        Date.now() / 1000,
        workOf(status, before, "feed", seconds) ?? 0,
        workOf(status, before, "writer", seconds) ?? 0,
      );
    if (metrics) this.#draw(status, metrics);
  }

  #broken(error: unknown): void {
    mark(this.#pill, "state", "down");
    say(this.#trouble, `${messageOf(error)}: these numbers are old`);
    mark(this.#trouble, "state", "down");
    this.#trouble.hidden = false;
  }

  /** Numbers that nobody has confirmed for a while are marked as old. */
  #age(): void {
    const silent = performance.now() - this.#heard;
    const old = silent > 3 * POLL_MS;
    mark(this.#root, "state", old ? "down" : null);
    if (old) {
      mark(this.#pill, "state", "down");
      say(this.#pill, `no status for ${durationText(silent / 1000)}`);
    }
  }

  /** The status that rates are taken against, and how long ago that was; none where it is too new to say anything. */
  #earlier(): [before: Status | null, seconds: number] {
    const now = this.#readings.at(-1)?.at ?? 0;
    const found = this.#readings.findLast(({ at }) => now - at >= RATE_MS) ?? this.#readings[0];
    const seconds = found ? (now - found.at) / 1000 : 0;
    return found && seconds * 1000 >= POLL_MS / 2 ? [found.status, seconds] : [null, 0];
  }

  #draw(status: Status, metrics: Map<string, Sample[]>): void {
    const [before, seconds] = this.#earlier();
    const off = status.accounts.filter((one) => one.off !== 0);
    const free = metrics.get("disk_free_bytes")?.[0]?.value;
    const size = metrics.get("disk_size_bytes")?.[0]?.value;
    const lost = status.rings.reduce((sum, ring) => sum + Object.values(ring.lost).reduce((a, b) => a + b, 0), 0);
    const gaps = sumOf(status, "feed", "gaps");
    this.#cards.replaceChildren(
      card(
        "Plant",
        status.healthy ? "healthy" : "not healthy",
        `up ${durationText(status.uptime_s)}`,
        status.healthy ? "good" : "bad",
      ),
      card(
        "Received",
        `${rateText(workOf(status, before, "feed", seconds))} ticks/s`,
        `${numberText(sumOf(status, "feed", "frames"))} frames`,
      ),
      card(
        "Stored",
        `${rateText(workOf(status, before, "writer", seconds))} records/s`,
        bytesText(sumOf(status, "writer", "bytes")),
      ),
      card("Gaps", numberText(gaps), "recorded by feeds", gaps ? "warn" : "good"),
      card(
        "Accounts",
        off.length ? `${off.length} off` : "all add up",
        off[0]
          ? `${off[0].producer} ${off[0].total}: ${off[0].off}`
          : `${status.accounts.length} equations, ${lost} records lost`,
        off.length || lost ? "bad" : "good",
      ),
      card(
        "Disk",
        free === undefined ? "–" : `${bytesText(free)} free`,
        size === undefined || free === undefined ? "" : `${Math.round((1 - free / size) * 100)} % used`,
        free !== undefined && size !== undefined && free / size < 0.05 ? "bad" : "",
      ),
    );
    this.#processes.fill(status.processes.map((one) => this.#processRow(one, before, seconds)));
    const high = metrics.get("ring_lag_high_water_records") ?? [];
    this.#rings.fill(status.rings.flatMap((ring) => this.#ringRows(ring, before, seconds, high)));
    const first = this.#firstStages();
    const since = first ? `last ${durationText((performance.now() - first.at) / 1000)}` : "since each process began";
    say(this.#window, `${since}, upper bounds`);
    this.#stages.fill(STAGES.map(([name, words, note]) => this.#stageRow(name, words, note)));
    this.#fresh.fill(this.#freshRows(metrics.get("topic_age_seconds") ?? []), "no topics yet");
    const causes = (metrics.get("feed_gaps_by_cause_total") ?? []).filter(({ value }) => value > 0);
    this.#causes.fill(
      causes.map(({ labels, value }) =>
        this.#causes.row([labels["process"] ?? "", (labels["cause"] ?? "").replace("_", " "), numberText(value)]),
      ),
    );
  }

  /** The oldest reading with latencies but the newest one itself. */
  #firstStages(): Reading | undefined {
    return this.#readings.slice(0, -1).find(({ stages }) => stages.size);
  }

  #stageRow(name: string, words: string, note: string): HTMLElement {
    const now = this.#readings.at(-1)?.stages.get(name) ?? [];
    const first = this.#firstStages()?.stages.get(name);
    const buckets = first ? between(now, first) : now;
    const count = buckets.at(-1)?.count ?? 0;
    const texts = [0.5, 0.9, 0.99].map((share) => latencyText(quantile(buckets, share)));
    const title = h(
      "span",
      {},
      words,
      h("span", { class: "note" }, ` ${count || name !== "stage_gateway" ? note : "no client is attached: open a market"}`),
    );
    return this.#stages.row([title, ...texts, numberText(count)]);
  }

  #processRow(one: Process, before: Status | null, seconds: number): HTMLElement {
    const old = before?.processes.find(({ name }) => name === one.name);
    const [counter, unit] = WORK[one.role] ?? ["", ""];
    const rate = old && counter ? rateOf(numberOf(one, counter), numberOf(old, counter), seconds) : null;
    const trouble = one.counters["trouble"];
    const fine = (one.state === "running" || one.state === "done") && !trouble;
    return this.#processes.row(
      [
        one.name,
        one.role,
        h("span", { class: "pill", "data-state": fine ? "live" : "down" }, one.state),
        durationText(one.uptime_s),
        String(one.restarts),
        `${one.cpu_percent.toFixed(1)} %`,
        bytesText(one.rss_bytes),
        rate === null ? "" : unit === "bytes" ? `${bytesText(rate)}/s` : `${rateText(rate)} ${unit}/s`,
        typeof trouble === "string" ? trouble : "",
      ],
      one.restarts ? { 4: "warn" } : {},
    );
  }

  #ringRows(ring: Ring, before: Status | null, seconds: number, high: Sample[]): HTMLElement[] {
    const old = before?.rings.find((one) => one.producer === ring.producer && one.schema === ring.schema);
    const rate = old ? `${rateText(rateOf(ring.head, old.head, seconds))}/s` : "";
    const percent = (records: number): string => `${((records / ring.capacity) * 100).toFixed(1)} %`;
    return Object.entries(ring.lag).map(([reader, lag], at) => {
      const of = ({ labels }: Sample): boolean =>
        labels["producer"] === ring.producer && labels["schema"] === ring.schema && labels["reader"] === reader;
      const most = high.find(of)?.value ?? 0;
      const share = lag / ring.capacity;
      const lost = ring.lost[reader] ?? 0;
      const bar = h("i");
      bar.style.transform = `scaleX(${Math.max(0, Math.min(1, share))})`;
      const meter = h("span", { class: "meter", "data-tone": share > 0.8 ? "bad" : share > 0.5 ? "warn" : "" }, bar);
      const name = at ? ["", ""] : [`${ring.producer} · ${ring.schema}`, rate];
      return this.#rings.row(
        [
          ...name,
          reader,
          numberText(lag),
          h("span", {}, meter, percent(lag)),
          `${numberText(most)} (${percent(most)})`,
          numberText(lost),
        ],
        lost ? { 6: "bad" } : {},
      );
    });
  }

  #freshRows(samples: Sample[]): HTMLElement[] {
    const symbols = new Map<string, Record<string, number>>();
    for (const { labels, value } of samples) {
      if (labels["symbol"] === "*") continue;
      const key = `${labels["venue"]} ${labels["symbol"]}`;
      const ages = symbols.get(key) ?? {};
      const channel = { agg_trade: "trade", orders: "book" }[labels["channel"] ?? ""] ?? labels["channel"] ?? "";
      ages[channel] = Math.min(value, ages[channel] ?? Infinity);
      symbols.set(key, ages);
    }
    return [...symbols].sort().map(([name, ages]) => {
      const shown = ["book", "trade", "quote"].map((channel) => ages[channel]);
      const old = shown.flatMap((age, at) => ((age ?? 0) > 60 ? [[at + 1, "warn"]] : []));
      return this.#fresh.row(
        [name, ...shown.map((age) => (age === undefined ? "–" : durationText(age)))],
        Object.fromEntries(old),
      );
    });
  }
}

function card(title: string, value: string, note: string, tone = ""): HTMLElement {
  return h(
    "div",
    { class: "card", "data-tone": tone },
    h("h2", {}, title),
    h("b", {}, value),
    h("span", { class: "note" }, note),
  );
}

function numberText(value: number): string {
  return value.toLocaleString("en");
}

function numberOf(process: Process, counter: string): number {
  const value = process.counters[counter];
  return typeof value === "number" ? value : 0;
}

function sumOf(status: Status, role: string, counter: string): number {
  return status.processes.filter((one) => one.role === role).reduce((sum, one) => sum + numberOf(one, counter), 0);
}

/** A counter that has become smaller began anew with its process. */
function rateOf(now: number, before: number, seconds: number): number {
  return seconds > 0 ? Math.max(0, now >= before ? now - before : now) / seconds : 0;
}

function workOf(status: Status, before: Status | null, role: string, seconds: number): number | null {
  if (!before) return null;
  const counter = WORK[role]![0];
  return rateOf(sumOf(status, role, counter), sumOf(before, role, counter), seconds);
}

function rateText(rate: number | null): string {
  if (rate === null) return "–";
  return rate < 10 ? rate.toFixed(1) : Math.round(rate).toLocaleString("en");
}

function bytesText(bytes: number): string {
  for (const [unit, size] of [
    ["TB", 1e12],
    ["GB", 1e9],
    ["MB", 1e6],
    ["kB", 1e3],
  ] as const)
    if (bytes >= size) return `${(bytes / size).toFixed(bytes >= 100 * size ? 0 : 1)} ${unit}`;
  return `${Math.round(bytes)} B`;
}

function latencyText(seconds: number | null): string {
  if (seconds === null) return "–";
  if (seconds === Infinity) return "> 10 s";
  return seconds < 1 ? `≤ ${Number((seconds * 1000).toPrecision(2))} ms` : `≤ ${seconds} s`;
}
