// The candle chart: grows at its right end, and reads older bars from the store as it is scrolled back.

import {
  CandlestickSeries,
  createChart,
  CrosshairMode,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  type UTCTimestamp,
} from "lightweight-charts";
import { ApiError, ask, Latest, messageOf } from "./api.ts";
import { type Candle, Candles } from "./candles.ts";
import { toNumber } from "./decimal.ts";
import { by, say } from "./dom.ts";
import type { Market } from "./market.ts";
import { colour, onTheme } from "./theme.ts";
import type { BarRow, Page, Tick } from "./wire.ts";

const FIRST_BARS = 20; // few, and more as they come into view: a young store has them in many small chunks
const MOST_BARS = 960;
const OPEN_TRADES = 20_000;
const NEAR_THE_END = 30;
const GROW_MS = 200;
const SETTLE_MS = 2_500; // until the store has what came just before the stream

export class Chart {
  readonly #chart: IChartApi;
  readonly #candle: ISeriesApi<"Candlestick">;
  readonly #volume: ISeriesApi<"Histogram">;
  #market: Market | null = null;
  #candles = new Candles(60, 60);
  #latest = new Latest();
  #older = false; // older bars are being read
  #whole = false; // there are none
  #page = 2 * FIRST_BARS; // bars to read next
  #grown = new Set<number>(); // begins of candles that have changed since they were drawn
  #waiting = false;
  #last = 0; // begin of the newest candle drawn

  constructor(root: HTMLElement) {
    this.#chart = createChart(root, {
      autoSize: true,
      layout: { attributionLogo: false, fontSize: 11 }, // the logo brings a style element; the page names TradingView itself
      crosshair: { mode: CrosshairMode.Normal },
      rightPriceScale: { scaleMargins: { top: 0.06, bottom: 0.22 } },
      timeScale: { timeVisible: true, secondsVisible: true, rightOffset: 4 },
    });
    this.#candle = this.#chart.addSeries(CandlestickSeries, { borderVisible: false });
    this.#volume = this.#chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.#chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && range.from < NEAR_THE_END) void this.#readOlder();
    });
    this.#chart.subscribeCrosshairMove((move) => this.#tell(move.time as number | undefined));
    onTheme(() => this.#paint());
    this.#paint();
  }

  get interval(): number {
    return this.#candles.interval;
  }

  get base(): number {
    return this.#candles.base;
  }

  /** Show candles up to an instant of receive time, or up to now. */
  async open(market: Market, interval: number, base: number, until: bigint | null): Promise<void> {
    const signal = this.#latest.next();
    const again = this.#market === market && this.#candles.interval === interval;
    const candles = new Candles(interval, base);
    const query = { venue: market.venue, symbol: market.symbol };
    const end = until === null ? undefined : until + 1n;
    if (!again) say(by("ohlc"), "reading the store");
    try {
      const bars = await ask<Page<BarRow>>(
        "history/bars",
        { ...query, interval_s: base, newest: true, limit: FIRST_BARS, end },
        signal,
      );
      bars.data.forEach((row) => candles.bar(row));
      const trades = await this.#openTrades(query, candles, end, signal);
      trades.forEach((tick) => candles.trade(tick));
    } catch (error) {
      if (signal.aborted) return;
      say(by("ohlc"), error instanceof ApiError && error.status === 404 ? "nothing stored yet" : messageOf(error));
    }
    if (signal.aborted) return;
    [this.#market, this.#candles, this.#whole] = [market, candles, false];
    this.#page = 2 * FIRST_BARS;
    this.#drawAll();
    if (!again) this.#chart.timeScale().applyOptions({ secondsVisible: interval < 60, barSpacing: 7 });
    if (!again || until !== null) this.#chart.timeScale().scrollToRealTime();
    this.#tell(undefined);
    if (until === null) setTimeout(() => void this.#settle(candles), SETTLE_MS);
  }

  /** Read the trades again that no bar has yet: the store is a second behind the stream. */
  async #settle(candles: Candles): Promise<void> {
    const market = this.#market;
    if (!market || candles !== this.#candles) return;
    const query = { venue: market.venue, symbol: market.symbol };
    const trades = await this.#openTrades(query, candles, undefined, undefined).catch(() => []);
    if (candles === this.#candles) this.trades(trades);
  }

  /** Let the open candle grow. A chart is drawn a few times a second: each time is that of a whole canvas. */
  trades(ticks: Tick[]): void {
    for (const tick of ticks) {
      const begin = this.#candles.trade(tick);
      if (begin !== null) this.#grown.add(begin);
    }
    if (!this.#grown.size || this.#waiting) return;
    this.#waiting = true;
    setTimeout(() => {
      this.#waiting = false;
      const begins = [...this.#grown].sort((a, b) => a - b);
      this.#grown.clear();
      for (const begin of begins) this.#draw(begin);
    }, GROW_MS);
  }

  bars(rows: BarRow[]): void {
    for (const row of rows) if (row.interval_s === this.#candles.base) this.#draw(this.#candles.bar(row));
  }

  /** Read the bars that have closed up to an instant while it moves on. */
  async advance(until: bigint): Promise<void> {
    const [market, candles] = [this.#market, this.#candles];
    if (!market) return;
    const query = { venue: market.venue, symbol: market.symbol, interval_s: candles.base };
    const found = await ask<Page<BarRow>>("history/bars", { ...query, newest: true, limit: 100, end: until + 1n });
    if (candles === this.#candles) this.bars(found.data);
  }

  #openTrades(
    query: { venue: string; symbol: string },
    candles: Candles,
    end: bigint | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Tick[]> {
    const start = BigInt(candles.closedUntil) * 1_000_000_000n;
    return ask<Page<Tick>>(
      "history/trades",
      { ...query, start, end, newest: true, limit: candles.closedUntil ? OPEN_TRADES : 1000 },
      signal,
    ).then((page) => page.data);
  }

  async #readOlder(): Promise<void> {
    const [market, candles] = [this.#market, this.#candles];
    if (this.#older || this.#whole || !market || candles.oldest === null) return;
    this.#older = true;
    try {
      const page = await ask<Page<BarRow>>("history/bars", {
        venue: market.venue,
        symbol: market.symbol,
        interval_s: candles.base,
        newest: true,
        limit: this.#page,
        end: candles.oldest,
      });
      if (candles !== this.#candles) return;
      this.#whole = page.data.length === 0;
      this.#page = Math.min(2 * this.#page, MOST_BARS);
      page.data.forEach((row) => candles.bar(row));
      if (!this.#whole) this.#drawAll();
    } catch {
      this.#whole = true; // until the chart is opened again
    } finally {
      this.#older = false;
    }
  }

  #drawAll(): void {
    const candles = this.#candles.all();
    const places = this.#market?.prices;
    for (const one of candles) {
      places?.see(one.open);
      places?.see(one.close);
    }
    const precision = Math.min(places?.count ?? 2, 10);
    this.#candle.applyOptions({ priceFormat: { type: "price", precision, minMove: 10 ** -precision } });
    this.#candle.setData(candles.map(candleOf));
    this.#volume.setData(candles.map(volumeOf));
    this.#last = candles.at(-1)?.time ?? 0;
  }

  #draw(begin: number): void {
    const candle = this.#candles.at(begin);
    if (!candle) return;
    const before = begin < this.#last;
    this.#candle.update(candleOf(candle), before);
    this.#volume.update(volumeOf(candle), before);
    this.#last = Math.max(this.#last, begin);
    this.#tell(undefined);
  }

  /** Open, high, low, close and volume, exact, of a candle or of the newest. */
  #tell(time: number | undefined): void {
    const market = this.#market;
    const candle = market ? this.#candles.at(time ?? this.#last) : null;
    if (!candle || !market) return;
    const price = (value: bigint): string => market.prices.text(value);
    say(
      by("ohlc"),
      `O ${price(candle.open)}  H ${price(candle.high)}  L ${price(candle.low)}  C ${price(candle.close)}  V ${market.sizes.text(candle.volume)}`,
    );
  }

  #paint(): void {
    this.#chart.applyOptions({
      layout: {
        background: { color: colour("panel") },
        textColor: colour("dim"),
        fontFamily: getComputedStyle(document.body).fontFamily,
      },
      grid: { vertLines: { color: colour("line", 0.5) }, horzLines: { color: colour("line", 0.5) } },
      rightPriceScale: { borderColor: colour("line") },
      timeScale: { borderColor: colour("line") },
    });
    const [up, down] = [colour("up"), colour("down")];
    this.#candle.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
    if (this.#market) this.#drawAll();
  }
}

function candleOf(one: Candle): { time: UTCTimestamp; open: number; high: number; low: number; close: number } {
  const [open, high, low, close] = [one.open, one.high, one.low, one.close].map(toNumber) as [
    number,
    number,
    number,
    number,
  ];
  return { time: one.time as UTCTimestamp, open, high, low, close };
}

function volumeOf(one: Candle): { time: UTCTimestamp; value: number; color: string } {
  const color = colour(one.close >= one.open ? "up" : "down", 0.45);
  return { time: one.time as UTCTimestamp, value: toNumber(one.volume), color };
}
