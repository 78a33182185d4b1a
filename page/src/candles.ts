// Candles from closed bars, and from the trades that no closed bar has yet: so the last one grows live.

import { parseDecimal } from "./decimal.ts";
import { parseTime } from "./times.ts";
import type { BarRow, Tick } from "./wire.ts";

const BACKFILL = 4;

export interface Candle {
  /** Begin, seconds since the epoch. */
  time: number;
  open: bigint;
  high: bigint;
  low: bigint;
  close: bigint;
  volume: bigint;
  buyVolume: bigint;
}

interface Trade {
  time_s: number;
  price: bigint;
  size: bigint;
  buy: boolean;
}

function secondsOf(text: string): number {
  return Number((parseTime(text) ?? 0n) / 1_000_000_000n);
}

/** Candles of `interval` seconds, of bars of `base` seconds, which divides it. */
export class Candles {
  readonly interval: number;
  readonly base: number;
  /** Receive time of the oldest bar: behind it lies what is not read yet. */
  oldest: string | null = null;
  #bars = new Map<number, Candle>(); // by begin
  #trades = new Map<number, Trade>(); // by record seq, in time after every closed bar
  #closed = 0; // end of the last closed bar, seconds

  constructor(interval: number, base: number) {
    this.interval = interval;
    this.base = base;
  }

  get closedUntil(): number {
    return this.#closed;
  }

  /** Take a closed bar; one that is known already changes nothing. Gives the begin of its candle. */
  bar(row: BarRow): number {
    const time = secondsOf(row.ts_open);
    const [open, high, low, close] = [row.open, row.high, row.low, row.close].map(parseDecimal) as [
      bigint,
      bigint,
      bigint,
      bigint,
    ];
    const [volume, buyVolume] = [parseDecimal(row.volume), parseDecimal(row.buy_volume)];
    this.#bars.set(time, { time, open, high, low, close, volume, buyVolume });
    if (this.oldest === null || row.ts_recv < this.oldest) this.oldest = row.ts_recv;
    if (time + this.base > this.#closed) {
      this.#closed = time + this.base;
      for (const [seq, trade] of this.#trades) if (trade.time_s < this.#closed) this.#trades.delete(seq);
    }
    return time - (time % this.interval);
  }

  /** Take a trade; null where a bar has it, or it counts into none, else the begin of its candle. */
  trade(tick: Tick): number | null {
    if (tick.kind !== "trade" || !tick.ts_event || !tick.price || !tick.size || tick.flags & BACKFILL) return null;
    const time_s = secondsOf(tick.ts_event);
    if (time_s < this.#closed) return null;
    const [price, size] = [parseDecimal(tick.price), parseDecimal(tick.size)];
    this.#trades.set(tick.seq, { time_s, price, size, buy: tick.side === "buy" });
    return time_s - (time_s % this.interval);
  }

  /** The candle that begins at `time`. */
  at(time: number): Candle | null {
    return this.#fold(
      Array.from({ length: this.interval / this.base }, (_, n) => this.#bars.get(time + n * this.base)),
      time + this.interval <= this.#closed
        ? []
        : [...this.#trades].filter(([, one]) => one.time_s >= time && one.time_s < time + this.interval),
      time,
    );
  }

  /** All of them, oldest first. */
  all(): Candle[] {
    const begins = new Set<number>();
    for (const time of this.#bars.keys()) begins.add(time - (time % this.interval));
    for (const { time_s } of this.#trades.values()) begins.add(time_s - (time_s % this.interval));
    return [...begins].sort((a, b) => a - b).map((time) => this.at(time)!);
  }

  #fold(bars: (Candle | undefined)[], trades: [number, Trade][], time: number): Candle | null {
    let found: Candle | null = null;
    const add = (one: Candle): void => {
      if (!found) {
        found = { ...one, time };
        return;
      }
      found.close = one.close;
      if (one.high > found.high) found.high = one.high;
      if (one.low < found.low) found.low = one.low;
      found.volume += one.volume;
      found.buyVolume += one.buyVolume;
    };
    for (const bar of bars) if (bar) add(bar);
    for (const [, { price, size, buy }] of trades.sort(([a], [b]) => a - b)) {
      const both = { open: price, high: price, low: price, close: price };
      add({ time, ...both, volume: size, buyVolume: buy ? size : 0n });
    }
    return found;
  }
}

/** `bar_1m` as 60; null for another channel. */
export function barSeconds(channel: string): number | null {
  const match = /^bar_(\d+)([smhd])$/.exec(channel);
  return match ? Number(match[1]) * { s: 1, m: 60, h: 3600, d: 86_400 }[match[2] as "s" | "m" | "h" | "d"] : null;
}

export function intervalText(seconds: number): string {
  for (const [unit, size] of [
    ["d", 86_400],
    ["h", 3600],
    ["m", 60],
  ] as const)
    if (seconds % size === 0) return `${seconds / size}${unit}`;
  return `${seconds}s`;
}

/** Lengths to choose from: those that the plant makes, and multiples of them. */
export function intervalsOf(bases: number[]): { interval: number; base: number }[] {
  const wanted = [...new Set([...bases, 60, 300, 900, 3600, 86_400])].sort((a, b) => a - b);
  return wanted.flatMap((interval) => {
    const base = Math.max(...bases.filter((one) => interval % one === 0));
    return Number.isFinite(base) && interval / base <= 1440 ? [{ interval, base }] : [];
  });
}
