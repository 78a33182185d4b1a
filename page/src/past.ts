// The time machine: a market as it was at one instant, and on from there, record by record as they were received.

import { ask, Latest, messageOf } from "./api.ts";
import type { Market } from "./market.ts";
import type { BookAnswer, Page, Tick } from "./wire.ts";

const PAGE_ROWS = 3000;
const AHEAD_ROWS = 1500;
const TAPE_ROWS = 100;
const MOST_LEVELS = 1000; // of a book of orders
const RETRY_MS = 1000;
const COLUMNS = "ts_event,ts_recv,recv_ns,kind,side,price,size,flags,seq";
const KINDS = "kind in (trade, level, clear, gap, status)";
const ORDER_KINDS = "kind in (trade, order_add, order_modify, order_cancel, clear, gap, status)";

export interface Moment {
  /** The market has moved on by these trades. */
  moved(trades: Tick[]): void;
  /** It is at another instant altogether. */
  arrived(): void;
  trouble(detail: string): void;
}

export class Past {
  /** The instant shown, nanoseconds of receive time. */
  at: bigint;
  playing = false;
  speed = 1;
  /** Whether the clock waits for the store, or the book for its orders. */
  get reading(): boolean {
    return this.#arriving || (this.playing && this.#waiting) || this.#asking;
  }
  /** Whether nothing is stored behind this instant. */
  ended = false;
  readonly #market: Market;
  readonly #moment: Moment;
  readonly #levels: boolean;
  readonly #kinds: string;
  readonly #seeking = new Latest();
  #rows: Tick[] = [];
  #next = 0; // the first row that has not been applied
  #from: bigint; // where reading ahead begins
  #cursor: string | null = null;
  #ahead: Promise<void> | null = null;
  #generation = 0;
  #arriving = false;
  #waiting = false; // the clock, for what is read ahead
  #asking = false; // a book of orders is being read

  /** `levels` false: the book is one of orders, which is asked for again at each instant. */
  constructor(market: Market, at: bigint, levels: boolean, moment: Moment) {
    [this.#market, this.at, this.#levels, this.#moment, this.#from] = [market, at, levels, moment, at];
    this.#kinds = levels ? KINDS : ORDER_KINDS;
  }

  close(): void {
    this.playing = false;
    this.#generation += 1;
    this.#seeking.cancel();
  }

  /** Go to an instant; the newest wish counts. */
  async seek(at: bigint): Promise<void> {
    const signal = this.#seeking.next();
    const { venue, symbol } = this.#market;
    this.#arriving = true;
    try {
      const [book, trades] = await Promise.all([
        ask<BookAnswer>("book", { venue, symbol, at }, signal),
        ask<Page<Tick>>("history/trades", { venue, symbol, end: at + 1n, newest: true, limit: TAPE_ROWS }, signal),
      ]);
      if (signal.aborted) return;
      this.#generation += 1;
      [this.at, this.#from, this.#rows, this.#next, this.#cursor, this.#ahead] = [at, at + 1n, [], 0, null, null];
      this.ended = false;
      this.#market.see([...book.bids.slice(0, 200), ...book.asks.slice(0, 200)]);
      this.#market.book.reset({ ...book, recv: book.ts_recv });
      this.#market.tape = [];
      this.#market.trades(trades.data);
      this.#moment.arrived();
      this.#arriving = false;
    } catch (error) {
      if (signal.aborted) return;
      this.#arriving = false;
      this.playing = false;
      this.#moment.trouble(messageOf(error));
    }
  }

  /** Go on to the instant at which the next record came. */
  async step(): Promise<void> {
    if (this.#next >= this.#rows.length) await this.#readAhead();
    const row = this.#rows[this.#next];
    if (row) this.#goOn(nsOf(row));
  }

  /** Go back to the instant at which the record before came. */
  async stepBack(): Promise<void> {
    const { venue, symbol } = this.#market;
    const page = await ask<Page<Tick>>("history/ticks", {
      venue,
      symbol,
      end: this.at,
      newest: true,
      limit: 1,
      where: this.#kinds,
      columns: "recv_ns,seq",
    });
    const row = page.data[0];
    if (row) await this.seek(nsOf(row));
  }

  /** The clock of the wall has moved on: so does this one, `speed` times as fast, but never past what is read. */
  tick(elapsed_ms: number): void {
    if (!this.playing || elapsed_ms <= 0) return;
    if (this.#rows.length - this.#next < AHEAD_ROWS) void this.#readAhead();
    const wanted = this.at + BigInt(Math.round(elapsed_ms * this.speed * 1e6));
    const newest = this.#rows.at(-1);
    // More of the newest receive time may stand on the next page.
    const readTo = newest ? nsOf(newest) - (this.#cursor === null ? 0n : 1n) : this.at;
    this.#waiting = wanted > readTo && !this.ended;
    const target = wanted > readTo ? readTo : wanted;
    if (this.ended && target === this.at) this.playing = false;
    if (target > this.at || this.ended) this.#goOn(target);
  }

  #goOn(at: bigint): void {
    const trades: Tick[] = [];
    for (; this.#next < this.#rows.length; this.#next++) {
      const row = this.#rows[this.#next]!;
      if (nsOf(row) > at) break;
      if (this.#levels) this.#market.book.tick(row);
      if (row.kind === "trade" || row.kind === "gap") trades.push(row);
    }
    if (this.#next > PAGE_ROWS) {
      this.#rows = this.#rows.slice(this.#next);
      this.#next = 0;
    }
    this.at = at;
    this.#market.trades(trades.slice(-200));
    if (!this.#levels) void this.#askBook();
    this.#moment.moved(trades);
  }

  #readAhead(): Promise<void> {
    this.#ahead ??= this.#readPage(this.#generation).catch((error: unknown) => {
      this.playing = false;
      this.#moment.trouble(messageOf(error));
    });
    return this.#ahead;
  }

  async #readPage(generation: number): Promise<void> {
    const { venue, symbol } = this.#market;
    const after = this.#cursor ?? undefined;
    const page = await ask<Page<Tick>>("history/ticks", {
      venue,
      symbol,
      start: this.#from,
      limit: PAGE_ROWS,
      where: this.#kinds,
      columns: COLUMNS,
      after,
    });
    if (generation !== this.#generation) return;
    this.#rows.push(...page.data);
    const newest = this.#rows.at(-1);
    this.ended = page.data.length === 0;
    this.#cursor = page.next;
    if (page.next === null && newest) this.#from = nsOf(newest) + 1n;
    const pause = page.data.length ? 0 : RETRY_MS; // the writer may be about to store more
    setTimeout(() => {
      if (generation === this.#generation) this.#ahead = null;
    }, pause);
  }

  /** Show the book of orders of this instant: one question at a time, until the clock rests where the answer is of. */
  async #askBook(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    const { venue, symbol } = this.#market;
    const generation = this.#generation;
    try {
      for (let at: bigint | null = null; at !== this.at; ) {
        at = this.at;
        const book = await ask<BookAnswer>("book", { venue, symbol, at, depth: MOST_LEVELS });
        if (generation !== this.#generation) return;
        this.#market.book.reset({ ...book, recv: book.ts_recv });
        this.#market.book.depth = MOST_LEVELS;
        this.#moment.moved([]);
      }
    } catch (error) {
      this.playing = false;
      if (generation === this.#generation) this.#moment.trouble(messageOf(error));
    } finally {
      this.#asking = false;
    }
  }
}

function nsOf(row: Tick): bigint {
  return BigInt(row.recv_ns ?? 0);
}
