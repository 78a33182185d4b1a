// The market view: one market, live or as it was, in ladder, tape, charts and the line above them.

import { ask, messageOf } from "./api.ts";
import { barSeconds, intervalsOf, intervalText } from "./candles.ts";
import { Chart } from "./chart.ts";
import { formatDecimal, ratio, toNumber } from "./decimal.ts";
import { by, framed, h, mark, say } from "./dom.ts";
import { Ladder } from "./ladder.ts";
import { Live } from "./live.ts";
import { Market } from "./market.ts";
import { Past } from "./past.ts";
import { DepthPlot, type StripPoint, StripPlot } from "./plots.ts";
import { Tape } from "./tape.ts";
import { Timebar } from "./timebar.ts";
import { clockText, durationText, formatTime, nowNs, parseTime } from "./times.ts";
import type { BboRow, Instrument, Page, Tick } from "./wire.ts";

const QUIET_MS = 5_000; // without an event a market is called quiet
const STRIP_MS = 200;
const DEPTH_MS = 250;
const BARS_MS = 1_000;
const STALE = 256; // of a best bid and offer
const SEEK_MS = 60; // between two books asked for while the slider moves

export class Screen {
  readonly #ladder = new Ladder(by("ladder"));
  readonly #tape = new Tape(by("tape"));
  readonly #chart = new Chart(by("candles"));
  readonly #depth = new DepthPlot(by("depth"));
  readonly #strip = new StripPlot(by("strip"));
  readonly #timebar = new Timebar(by("timebar"), {
    live: () => this.goLive(),
    seek: (at) => this.seek(at),
    step: (way) => this.step(way),
    play: () => this.play(),
    speed: (factor) => this.#setSpeed(factor),
  });
  readonly #draw = framed(() => this.#drawNow());
  readonly #moved: (at: bigint | null) => void;
  #instrument: Instrument | null = null;
  #market: Market | null = null;
  #live: Live | null = null;
  #past: Past | null = null;
  #speed = 1;
  #interval = 60;
  #trouble = "";
  #drawnStrip = 0;
  #drawnDepth = 0;
  #readBars = 0;
  #seekTimer: ReturnType<typeof setTimeout> | undefined;

  /** `moved` hears of each instant that is shown, null being live. */
  constructor(moved: (at: bigint | null) => void) {
    this.#moved = moved;
    new ResizeObserver(() => {
      if ([this.#ladder.resize(), this.#tape.resize()].some(Boolean)) this.#drawNow(); // no frame comes while it is printed
    }).observe(by("market"));
    setInterval(() => this.#age(), 250);
    let before = performance.now();
    const frame = (now: number): void => {
      this.#past?.tick(now - before);
      before = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  /** The instant shown; null: live. */
  get at(): bigint | null {
    return this.#past?.at ?? null;
  }

  /** It can be seen again. */
  shown(): void {
    this.#drawnDepth = 0;
    this.#draw();
  }

  /** Show an instrument, live or at an instant. */
  open(instrument: Instrument, at: bigint | null): void {
    this.#close();
    this.#instrument = instrument;
    const market = (this.#market = new Market(instrument.venue, instrument.symbol));
    document.title = `${instrument.symbol} · tickplant`;
    say(by("symbol"), instrument.symbol);
    say(by("venue"), instrument.venue);
    this.#strip.clear();
    const bases = instrument.channels.map(barSeconds).filter((one) => one !== null);
    const choices = intervalsOf(bases.length ? bases : [1, 60]);
    if (!choices.some(({ interval }) => interval === this.#interval)) this.#interval = choices[0]!.interval;
    by("intervals").replaceChildren(
      ...choices.map(({ interval }) =>
        h(
          "button",
          { "data-interval": String(interval), onclick: () => this.#choose(interval) },
          intervalText(interval),
        ),
      ),
    );
    void this.#timebar.open(market.venue, market.symbol);
    if (at === null) this.goLive();
    else this.seek(at);
  }

  goLive(): void {
    const instrument = this.#instrument;
    if (!instrument) return;
    this.#close();
    const market = (this.#market = new Market(instrument.venue, instrument.symbol));
    this.#strip.clear();
    if (!instrument.live) {
      this.#trouble = "not recorded at present: choose an instant";
      this.#draw();
      return;
    }
    const base = this.#base();
    this.#live = new Live(market, instrument, base === null ? "" : `bar_${intervalText(base)}`, {
      changed: this.#draw,
      trades: (ticks) => this.#chart.trades(ticks),
      bars: (rows) => this.#chart.bars(rows),
    });
    void this.#prefill(market, null);
    void this.#openChart(null);
    this.#moved(null);
    this.#draw();
  }

  /** Show the market as it was; asked for many times in a row, only some of them are read. */
  seek(at: bigint): void {
    clearTimeout(this.#seekTimer);
    this.#seekTimer = setTimeout(() => void this.#seek(at), SEEK_MS);
    this.#timebar.show(at, this.#past?.playing ?? false, "reading");
  }

  step(way: 1 | -1): void {
    const past = this.#past;
    if (!past) return this.seek(this.#market?.book.recv ? (parseTime(this.#market.book.recv) ?? nowNs()) : nowNs());
    past.playing = false;
    void (way > 0 ? past.step() : past.stepBack()).catch((error: unknown) => this.#tell(messageOf(error)));
  }

  play(): void {
    const past = this.#past;
    if (!past) return this.seek(nowNs() - 60_000_000_000n);
    past.playing = !past.playing;
    if (!past.playing) this.#settled();
    this.#drawNow(); // a pause is said together with the instant that it is at
  }

  faster(way: 1 | -1): void {
    this.#timebar.faster(way);
  }

  #setSpeed(factor: number): void {
    this.#speed = factor;
    if (this.#past) this.#past.speed = factor;
  }

  async #seek(at: bigint): Promise<void> {
    const instrument = this.#instrument;
    if (!instrument) return;
    if (!this.#past) {
      this.#close();
      const market = (this.#market = new Market(instrument.venue, instrument.symbol));
      const levels = !instrument.channels.includes("orders") || instrument.channels.includes("book");
      this.#past = new Past(market, at, levels, {
        moved: (trades) => {
          this.#chart.trades(trades);
          this.#follow();
          this.#draw();
        },
        arrived: () => this.#arrived(),
        trouble: (detail) => this.#tell(detail),
      });
      this.#past.speed = this.#speed;
    }
    await this.#past.seek(at);
  }

  #arrived(): void {
    const [past, market] = [this.#past, this.#market];
    if (!past || !market) return;
    this.#trouble = "";
    this.#drawnDepth = 0;
    this.#strip.clear();
    void this.#prefill(market, past.at);
    void this.#openChart(past.at);
    this.#settled();
    this.#draw();
  }

  /** The bars that close while the time machine plays. */
  #follow(): void {
    const now = performance.now();
    if (!this.#past || now - this.#readBars < BARS_MS) return;
    this.#readBars = now;
    void this.#chart.advance(this.#past.at).catch(() => undefined);
  }

  #settled(): void {
    if (this.#past) this.#moved(this.#past.at);
  }

  #tell(detail: string): void {
    this.#trouble = detail;
    this.#draw();
  }

  #close(): void {
    clearTimeout(this.#seekTimer);
    this.#live?.close();
    this.#past?.close();
    this.#live = this.#past = null;
    this.#trouble = "";
  }

  #choose(interval: number): void {
    const before = this.#base();
    this.#interval = interval;
    if (this.#live && this.#base() !== before) this.goLive();
    else void this.#openChart(this.#past?.at ?? null);
  }

  #base(): number | null {
    const bases = this.#instrument?.channels.map(barSeconds).filter((one) => one !== null) ?? [];
    return (
      intervalsOf(bases.length ? bases : [1, 60]).find(({ interval }) => interval === this.#interval)?.base ?? null
    );
  }

  async #openChart(at: bigint | null): Promise<void> {
    const base = this.#base();
    for (const button of by("intervals").children)
      button.setAttribute(
        "aria-pressed",
        String((button as HTMLElement).dataset["interval"] === String(this.#interval)),
      );
    if (this.#market && base !== null) await this.#chart.open(this.#market, this.#interval, base, at);
  }

  /** The trades and the best prices just before. */
  async #prefill(market: Market, at: bigint | null): Promise<void> {
    const query = { venue: market.venue, symbol: market.symbol, newest: true, end: at === null ? undefined : at + 1n };
    const [trades, best] = await Promise.all([
      at === null ? ask<Page<Tick>>("history/trades", { ...query, limit: 100 }).catch(() => null) : null,
      ask<Page<BboRow>>("history/bbo", {
        ...query,
        limit: 400,
        columns: "ts_recv,bid_price,bid_size,ask_price,ask_size,flags",
      }).catch(() => null),
    ]);
    if (market !== this.#market) return;
    if (trades) market.trades(trades.data);
    const points = (best?.data ?? []).flatMap((row) => {
      const { bid_price, bid_size, ask_price, ask_size } = row;
      const time_s = Number(parseTime(row.ts_recv) ?? 0n) / 1e9;
      if (row.flags & STALE) return [{ time_s, spread: null, imbalance: null }];
      if (!bid_price || !bid_size || !ask_price || !ask_size) return [];
      return [
        stripPoint(
          time_s,
          ...([bid_price, bid_size, ask_price, ask_size].map(Number) as [number, number, number, number]),
        ),
      ];
    });
    this.#strip.add(points, true);
    this.#draw();
  }

  #drawNow(): void {
    const market = this.#market;
    if (!market || by("market").hidden) return;
    this.#ladder.draw(market);
    this.#tape.draw(market);
    this.#drawQuote(market);
    const now = performance.now();
    if (now - this.#drawnStrip > STRIP_MS) {
      this.#drawnStrip = now;
      const [bid, ask] = [market.book.bids.best(1)[0], market.book.asks.best(1)[0]];
      const recv = this.#past?.at ?? (market.book.recv ? parseTime(market.book.recv) : null);
      if (bid && ask && recv !== null && market.book.state === "live") {
        const [bidPrice, bidSize, askPrice, askSize] = [...bid, ...ask].map(toNumber) as [
          number,
          number,
          number,
          number,
        ];
        this.#strip.add([stripPoint(Number(recv) / 1e9, bidPrice, bidSize, askPrice, askSize)]);
      } else if (recv !== null && market.book.state === "stale") this.#strip.interrupt(Number(recv) / 1e9);
    }
    if (now - this.#drawnDepth > DEPTH_MS) {
      this.#drawnDepth = now;
      this.#depth.draw(market);
    }
    const past = this.#past;
    mark(by("market"), "at", past ? String(past.at) : null);
    this.#age();
  }

  #drawQuote(market: Market): void {
    const [bid, ask] = [market.book.bids.best(1)[0], market.book.asks.best(1)[0]];
    const places = market.prices.count;
    say(by("last"), market.last === null ? "–" : formatDecimal(market.last, places));
    mark(by("last"), "direction", String(market.direction));
    say(by("bid"), bid ? formatDecimal(bid[0], places) : "–");
    say(by("ask"), ask ? formatDecimal(ask[0], places) : "–");
    const spread = bid && ask ? ask[0] - bid[0] : null;
    const basis = bid && spread !== null ? ` · ${((toNumber(spread) / toNumber(bid[0])) * 1e4).toPrecision(2)} bp` : "";
    say(by("spread"), spread === null ? "–" : formatDecimal(spread, places) + basis);
    const balance = bid && ask ? ratio(bid[1], bid[1] + ask[1]) * 2 - 1 : null;
    say(
      by("imbalance"),
      balance === null ? "–" : `${balance > 0 ? "+" : balance < 0 ? "−" : ""}${Math.abs(balance * 100).toFixed(0)} %`,
    );
    say(by("asof"), market.book.recv ? clockText(parseTime(market.book.recv) ?? 0n) : "–");
    const counts = [market.book.bids, market.book.asks].map(
      ({ count }) => `${count.toLocaleString("en")}${count === market.book.depth ? "+" : ""}`,
    );
    say(by("book-note"), `${counts[0]} bids · ${counts[1]} asks`);
  }

  /** How old what is shown is: four times a second, so that no number ever stands as if it were new. */
  #age(): void {
    const market = this.#market;
    if (!market) return;
    const [state, text, banner] = this.#freshness(market);
    mark(by("market"), "state", state);
    mark(by("freshness"), "state", state);
    say(by("freshness"), text);
    say(by("banner"), banner);
    mark(by("banner"), "state", state);
    by("banner").hidden = !banner || by("market").hidden;
    const past = this.#past;
    const note = past?.reading ? "reading" : past?.ended ? "end of what is stored" : "";
    this.#timebar.show(past ? past.at : null, past?.playing ?? false, note);
  }

  #freshness(market: Market): [state: string, text: string, banner: string] {
    if (this.#trouble) return ["trouble", "trouble", this.#trouble];
    const reason = market.book.why ? `: ${market.book.why}` : "";
    if (this.#past) {
      const when = formatTime(this.#past.at).replace("T", " ");
      const stale = market.book.state === "live" ? "" : `. The book was ${market.book.state} then${reason}`;
      return ["past", this.#past.playing ? `playing ×${this.#speed}` : "as it was", `As it was at ${when}${stale}`];
    }
    const live = this.#live;
    if (!live) return ["wait", "connecting", ""];
    const age_s = (performance.now() - live.moved) / 1000;
    if (live.trouble !== null) {
      const since = durationText((performance.now() - live.since) / 1000);
      if (market.book.recv === null) return ["wait", "connecting", ""];
      const why = `Disconnected for ${since} (${live.trouble}): ${numbersOf(market)}. Trying again.`;
      return ["down", `disconnected ${since}`, why];
    }
    if (market.book.state === "stale")
      return ["stale", "stale", `The book is stale${reason}: ${numbersOf(market)}. It waits for a new snapshot.`];
    if (age_s * 1000 > QUIET_MS) return ["quiet", `quiet for ${durationText(age_s)}`, ""];
    return ["live", `live · ${age_s.toFixed(1)} s`, ""];
  }
}

function numbersOf(market: Market): string {
  if (!market.book.recv) return "it has no numbers yet";
  return `these are the numbers of ${clockText(parseTime(market.book.recv) ?? 0n, 0)} UTC`;
}

function stripPoint(time_s: number, bidPrice: number, bidSize: number, askPrice: number, askSize: number): StripPoint {
  return { time_s, spread: askPrice - bidPrice, imbalance: (bidSize - askSize) / (bidSize + askSize || 1) };
}
