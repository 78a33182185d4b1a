// A market as it is: events of its topics, applied by sequence.

import { ask, messageOf } from "./api.ts";
import type { Market } from "./market.ts";
import { Stream } from "./stream.ts";
import { formatTime, nowNs } from "./times.ts";
import type { BarRow, BboRow, BookAnswer, Instrument, RecordsEvent, StreamEvent, Tick } from "./wire.ts";

const CONFLATE_MS = 50;
const POLL_MS = 500;
const MOST_LEVELS = 1000; // of a book of orders

export interface Watcher {
  changed(): void;
  trades(ticks: Tick[]): void;
  bars(rows: BarRow[]): void;
}

export class Live {
  /** Why nothing comes, in words; null while the stream stands. */
  trouble: string | null = "connecting";
  /** Since when, of `performance.now()`. */
  since = performance.now();
  /** When the last event came, of `performance.now()`. */
  moved = performance.now();
  readonly #market: Market;
  readonly #watcher: Watcher;
  readonly #prefix: string;
  readonly #ends = new Map<string, { epoch: number; seq: number }>();
  readonly #stream: Stream;
  #closed = false;

  constructor(market: Market, instrument: Instrument, bars: string, watcher: Watcher) {
    [this.#market, this.#watcher] = [market, watcher];
    this.#prefix = `${market.venue}.${market.symbol}.`;
    const has = (channel: string): boolean => instrument.channels.includes(channel);
    const channels = [has("book") ? "book" : has("orders") ? "" : "bbo", has("trade") ? "trade" : "agg_trade", bars];
    const topics = channels.filter(Boolean).map((channel) => this.#prefix + channel);
    if (has("orders") && !has("book")) void this.#poll();
    this.#stream = new Stream(topics, CONFLATE_MS, {
      event: (event) => this.#take(event),
      connection: (trouble) => {
        if ((trouble === null) !== (this.trouble === null)) this.since = performance.now();
        this.trouble = trouble;
        watcher.changed();
      },
    });
  }

  close(): void {
    this.#closed = true;
    this.#stream.close();
  }

  #take(event: StreamEvent): void {
    this.moved = performance.now();
    const channel = event.topic.slice(this.#prefix.length);
    if (channel === "book") this.#book(event);
    else if (channel === "bbo") this.#best(event);
    else if (event.type === "gap") this.#market.lost(event, formatTime(nowNs()));
    else if (event.type === "records") {
      const records = this.#fresh(event);
      if (channel.startsWith("bar_")) this.#watcher.bars(records as BarRow[]);
      else {
        this.#market.trades(records as Tick[]);
        this.#watcher.trades(records as Tick[]);
      }
    }
    this.#watcher.changed();
  }

  #book(event: StreamEvent): void {
    const { book } = this.#market;
    if (event.type === "snapshot") {
      this.#market.see([...(event.bids ?? []).slice(0, 200), ...(event.asks ?? []).slice(0, 200)]);
      book.snapshot(event);
    } else if (event.type === "gap") {
      book.stale("events were lost on the way here");
    } else if (!book.apply(event)) {
      book.stale("a hole in the stream: asking for a new snapshot");
      this.#stream.restart();
    }
  }

  #best(event: StreamEvent): void {
    if (event.type !== "records" && event.type !== "snapshot") return;
    const row = event.records?.at(-1) as BboRow | undefined;
    if (row) this.#market.best(row);
  }

  /** What of these records has not been here before: behind a reconnect a few come again. */
  #fresh(event: RecordsEvent): unknown[] {
    const known = this.#ends.get(event.topic);
    const end = event.seq + event.count;
    const again = known?.epoch === event.epoch ? Math.max(0, known.seq - event.seq) : 0;
    this.#ends.set(event.topic, { epoch: event.epoch, seq: Math.max(end, again ? known!.seq : 0) });
    return event.count === event.records.length
      ? event.records.slice(again)
      : again >= event.count
        ? []
        : event.records;
  }

  /** The levels of a book of orders, as the engine derives them: the orders alone may be more than a page can take. */
  async #poll(): Promise<void> {
    const { venue, symbol } = this.#market;
    while (!this.#closed) {
      try {
        const found = await ask<BookAnswer>("book", { venue, symbol, depth: MOST_LEVELS });
        if (this.#closed) return;
        const { book } = this.#market;
        if (book.seq !== found.topic_seq || book.epoch !== found.epoch) this.moved = performance.now();
        this.#market.see([...found.bids.slice(0, 200), ...found.asks.slice(0, 200)]);
        book.reset({ ...found, recv: found.ts_recv });
        [book.seq, book.epoch, book.depth] = [found.topic_seq, found.epoch, MOST_LEVELS];
      } catch (error) {
        this.#market.book.stale(messageOf(error));
      }
      this.#watcher.changed();
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}
