// A book by level on the client: a snapshot, then changes by sequence. The rules are those of docs/design.md §2.

import { parseDecimal } from "./decimal.ts";
import type { Level, LevelsEvent, RecordsEvent, SnapshotEvent, Tick } from "./wire.ts";

const LAST = 1;
const PARTIAL = 16;
const ON_BOOK = 128;
const ON_ORDERS = 4096;
const DISCONNECTED = "2";
const GAP_CAUSES = ["", "sequence", "disconnect", "restart", "checksum", "ring_full", "overrun", "rejected", "damage"];

export type PriceSize = readonly [price: bigint, size: bigint];
export type State = "empty" | "loading" | "live" | "stale";

/** One side: prices in order, best last, so that changes near the best move little. */
class Side {
  readonly #sizes = new Map<bigint, bigint>();
  readonly #prices: bigint[] = [];
  readonly #sign: 1n | -1n;

  constructor(sign: 1n | -1n) {
    this.#sign = sign;
  }

  set(price: bigint, size: bigint): void {
    const known = this.#sizes.has(price);
    if (size > 0n) {
      this.#sizes.set(price, size);
      if (!known) this.#prices.splice(this.#find(price), 0, price);
    } else if (known) {
      this.#sizes.delete(price);
      this.#prices.splice(this.#find(price), 1);
    }
  }

  clear(): void {
    this.#sizes.clear();
    this.#prices.length = 0;
  }

  get count(): number {
    return this.#prices.length;
  }

  best(depth: number): PriceSize[] {
    const found: PriceSize[] = [];
    for (let at = this.#prices.length - 1; at >= 0 && found.length < depth; at--) {
      const price = this.#prices[at]!;
      found.push([price, this.#sizes.get(price)!]);
    }
    return found;
  }

  #find(price: bigint): number {
    let low = 0;
    let high = this.#prices.length;
    const key = price * this.#sign;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#prices[middle]! * this.#sign < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Cause of a record of kind gap, in words. */
export function causeOf(tick: Tick): string {
  return tick.note ?? GAP_CAUSES[Number(tick.price)] ?? `cause ${tick.price}`;
}

export class Book {
  readonly bids = new Side(1n);
  readonly asks = new Side(-1n);
  state: State = "empty";
  /** Why it is stale, in words. */
  why = "";
  /** Topic sequence behind the last change, in the life `epoch` of the engine; null for a book of the store. */
  seq: number | null = null;
  epoch: number | null = null;
  /** Receive time of the last change. */
  recv: string | null = null;
  /** The levels a side that it is cut to; null where it has all. */
  depth: number | null = null;

  /** Begin anew with all levels. */
  reset(levels: { bids: Level[]; asks: Level[]; stale: boolean; recv: string | null }): void {
    this.bids.clear();
    this.asks.clear();
    this.#set(levels.bids, levels.asks);
    this.state = levels.stale ? "stale" : "live";
    this.why = "";
    this.recv = levels.recv;
    this.seq = this.epoch = this.depth = null;
  }

  snapshot(event: SnapshotEvent): void {
    this.reset({ bids: event.bids ?? [], asks: event.asks ?? [], stale: event.stale, recv: event.ts_recv ?? null });
    this.seq = event.seq;
    this.epoch = event.epoch;
  }

  /** Apply an event behind this book. False where something between is missing: only a snapshot helps then. */
  apply(event: RecordsEvent | LevelsEvent): boolean {
    if (this.seq === null || event.epoch !== this.epoch || event.seq > this.seq) return false;
    const end = event.seq + event.count;
    if (end <= this.seq) return true; // known
    if (event.type === "levels") {
      if (this.state !== "stale") this.#set(event.bids, event.asks);
      this.recv = event.ts_recv ?? this.recv;
    } else {
      for (const tick of event.records.slice(this.seq - event.seq) as Tick[]) this.tick(tick);
    }
    this.seq = end;
    return true;
  }

  /** One record of the store or of a live topic. */
  tick(tick: Tick): void {
    this.recv = tick.ts_recv;
    if (tick.flags & PARTIAL) return;
    if (tick.kind === "level") {
      if (this.state === "stale" || this.state === "empty" || tick.price === null || tick.size === null) return;
      const size = parseDecimal(tick.size);
      if (size < 0n || (tick.side !== "bid" && tick.side !== "ask")) return;
      (tick.side === "bid" ? this.bids : this.asks).set(parseDecimal(tick.price), size);
    } else if (tick.kind === "clear") {
      if (tick.flags & ON_ORDERS) return;
      this.bids.clear();
      this.asks.clear();
      this.state = "loading";
    } else if (tick.flags & ON_BOOK && tick.kind === "gap") {
      this.stale(`gap: ${causeOf(tick)}`);
    } else if (tick.flags & ON_BOOK && tick.kind === "status" && tick.price === DISCONNECTED) {
      this.stale("the venue's connection was lost");
    }
    if (tick.flags & LAST && this.state === "loading") this.state = "live";
  }

  stale(why: string): void {
    this.state = "stale";
    this.why = why;
  }

  #set(bids: Level[], asks: Level[]): void {
    for (const [price, size] of bids) this.bids.set(parseDecimal(price), parseDecimal(size));
    for (const [price, size] of asks) this.asks.set(parseDecimal(price), parseDecimal(size));
  }
}
