// What the market view shows, live or as it was: a book, the last trades, and how far each is. No DOM, no clock.

import { Book, causeOf } from "./book.ts";
import { parseDecimal, Places } from "./decimal.ts";
import type { BboRow, GapEvent, Level, Tick } from "./wire.ts";

const TAPE_ROWS = 200;

export interface TapeRow {
  seq: number;
  recv: string;
  time: string;
  side: "buy" | "sell" | null;
  price: bigint;
  size: bigint;
  /** Instead of a trade: what is missing here. */
  note: string;
}

export class Market {
  readonly venue: string;
  readonly symbol: string;
  book = new Book();
  /** Newest first. */
  tape: TapeRow[] = [];
  /** Price of the last trade, and whether it was above (1) or below (-1) the one before. */
  last: bigint | null = null;
  direction = 0;
  readonly prices = new Places();
  readonly sizes = new Places();
  #notes = 0;

  constructor(venue: string, symbol: string) {
    this.venue = venue;
    this.symbol = symbol;
  }

  /** Take the number of decimals from these levels. */
  see(levels: Level[]): void {
    for (const [price, size] of levels) {
      this.prices.see(parseDecimal(price));
      this.sizes.see(parseDecimal(size));
    }
  }

  /** Trades and what is missing among them, oldest first; those that are known change nothing. */
  trades(ticks: Tick[]): void {
    const known = new Set(this.tape.map((row) => row.seq));
    for (const tick of ticks) {
      if (known.has(tick.seq)) continue;
      if (tick.kind === "trade" && tick.price !== null && tick.size !== null) {
        const [price, size] = [parseDecimal(tick.price), parseDecimal(tick.size)];
        this.prices.see(price);
        this.sizes.see(size);
        const side = tick.side === "buy" || tick.side === "sell" ? tick.side : null;
        this.#push({
          seq: tick.seq,
          recv: tick.ts_recv,
          time: tick.ts_event ?? tick.ts_recv,
          side,
          price,
          size,
          note: "",
        });
      } else if (tick.kind === "gap") {
        const missing = tick.size === null ? "trades" : `${tick.size} trades`;
        this.#note(tick.ts_recv, `${missing} missing: ${causeOf(tick).replace("_", " ")}`, tick.seq);
      }
    }
    this.tape.sort((a, b) => b.seq - a.seq);
    this.tape.length = Math.min(this.tape.length, TAPE_ROWS);
    const [newest, before] = this.tape.filter((row) => !row.note);
    if (newest) {
      if (before && newest.price !== before.price) this.direction = newest.price > before.price ? 1 : -1;
      this.last = newest.price;
    }
  }

  /** The gateway has dropped events of trades, or the engine has restarted. */
  lost(event: GapEvent, recv: string): void {
    const many = event.lost === null ? "trades" : `${event.lost} trades`;
    const after = this.tape[0]?.seq ?? 0;
    this.#note(
      recv,
      `${many} not shown: ${event.reason === "slow" ? "this page was slow" : "engine restarted"}`,
      after,
    );
    this.tape.sort((a, b) => b.seq - a.seq);
  }

  /** Where there is no book: the best bid and offer as one of a single level. */
  best(row: BboRow): void {
    const level = (price: string | null, size: string | null): Level[] =>
      price !== null && size !== null ? [[price, size]] : [];
    const bids = level(row.bid_price, row.bid_size);
    const asks = level(row.ask_price, row.ask_size);
    this.see([...bids, ...asks]);
    this.book.reset({ bids, asks, stale: (row.flags & 256) !== 0, recv: row.ts_recv });
  }

  #push(row: TapeRow): void {
    this.tape.push(row);
  }

  #note(recv: string, note: string, seq: number): void {
    this.#notes += 1; // between two records
    this.#push({ seq: seq + this.#notes / 1e6, recv, time: recv, side: null, price: 0n, size: 0n, note });
  }
}
