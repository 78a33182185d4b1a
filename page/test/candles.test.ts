import assert from "node:assert/strict";
import { test } from "node:test";
import { barSeconds, Candles, intervalsOf, intervalText } from "../src/candles.ts";
import { formatDecimal } from "../src/decimal.ts";
import { formatTime } from "../src/times.ts";
import type { BarRow, Tick } from "../src/wire.ts";

const T0 = 1_772_323_200; // a full hour

function at(second: number): string {
  return formatTime(BigInt(T0 + second) * 1_000_000_000n);
}

function bar(second: number, [open, high, low, close]: string[], volume = "1"): BarRow {
  const ends = at(second + 60);
  return {
    ts_event: ends,
    ts_recv: ends,
    ts_open: at(second),
    interval_s: 60,
    open: open!,
    high: high!,
    low: low!,
    close: close!,
    volume,
    buy_volume: "0.5",
    trades: 1,
  };
}

function trade(second: number, seq: number, price: string, size = "1"): Tick {
  return { ts_event: at(second), ts_recv: at(second), kind: "trade", side: "buy", price, size, flags: 1, seq };
}

function shown(candles: Candles): string[] {
  return candles
    .all()
    .map(
      (one) =>
        `${one.time - T0}: ${[one.open, one.high, one.low, one.close, one.volume].map((value) => formatDecimal(value)).join(" ")}`,
    );
}

test("bars join into longer candles, in whatever order they come", () => {
  const candles = new Candles(300, 60);
  for (const row of [
    bar(120, ["3", "9", "3", "4"]),
    bar(0, ["1", "2", "1", "2"]),
    bar(300, ["5", "5", "5", "5"]),
    bar(0, ["1", "2", "1", "2"]),
  ])
    candles.bar(row);
  assert.deepEqual(shown(candles), ["0: 1 9 1 4 2", "300: 5 5 5 5 1"]);
  assert.equal(candles.oldest, at(60));
});

test("the newest candle grows by trades, each counted once, until its bar closes", () => {
  const candles = new Candles(60, 60);
  candles.bar(bar(0, ["1", "2", "1", "2"]));
  assert.equal(candles.trade(trade(30, 1, "7")), null); // the bar has it
  assert.equal(candles.trade(trade(61, 3, "3")), T0 + 60);
  candles.trade(trade(60, 2, "2.5"));
  candles.trade(trade(61, 3, "3"));
  assert.deepEqual(shown(candles), ["0: 1 2 1 2 1", "60: 2.5 3 2.5 3 2"]);
  candles.bar(bar(60, ["2.5", "4", "2.5", "4"], "3"));
  assert.deepEqual(shown(candles), ["0: 1 2 1 2 1", "60: 2.5 4 2.5 4 3"]);
});

test("what a bar does not count does not move a candle", () => {
  const candles = new Candles(60, 60);
  assert.equal(candles.trade({ ...trade(1, 1, "1"), flags: 5 }), null); // fetched later
  assert.equal(candles.trade({ ...trade(1, 1, "1"), ts_event: null }), null);
  assert.deepEqual(shown(candles), []);
});

test("lengths to choose from are made of those that the plant has", () => {
  assert.deepEqual(["bar_1s", "bar_90s", "bar_1m", "bar_1h", "trade"].map(barSeconds), [1, 90, 60, 3600, null]);
  assert.deepEqual(
    intervalsOf([1, 60]).map(({ interval, base }) => `${intervalText(interval)} of ${intervalText(base)}`),
    ["1s of 1s", "1m of 1m", "5m of 1m", "15m of 1m", "1h of 1m", "1d of 1m"],
  );
  assert.deepEqual(
    intervalsOf([90]).map(({ interval }) => interval),
    [90, 900, 3600, 86_400],
  );
  // A young plant has no minutes yet: they are made of its seconds.
  assert.deepEqual(intervalsOf([1])[1], { interval: 60, base: 1 });
});
