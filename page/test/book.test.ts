import assert from "node:assert/strict";
import { test } from "node:test";
import { Book } from "../src/book.ts";
import { formatDecimal, parseDecimal } from "../src/decimal.ts";
import type { Level, LevelsEvent, RecordsEvent, SnapshotEvent, Tick } from "../src/wire.ts";

const HEAD = { topic: "v.S.book", epoch: 7 };

function snapshot(seq: number, bids: Level[], asks: Level[], stale = false): SnapshotEvent {
  return { ...HEAD, type: "snapshot", seq, stale, ts_recv: null, bids, asks };
}

function tick(kind: string, side: Tick["side"], price: string | null, size: string | null, flags = 0): Tick {
  return { kind, side, price, size, flags, seq: 0, ts_event: null, ts_recv: "2026-03-01T00:00:00.000000000Z" };
}

function records(seq: number, ...ticks: Tick[]): RecordsEvent {
  return { ...HEAD, type: "records", seq, count: ticks.length, records: ticks };
}

function shown(book: Book): { bids: Level[]; asks: Level[] } {
  const side = (levels: ReturnType<Book["bids"]["best"]>): Level[] =>
    levels.map(([price, size]) => [formatDecimal(price), formatDecimal(size)]);
  return { bids: side(book.bids.best(1e9)), asks: side(book.asks.best(1e9)) };
}

test("a snapshot, then changes by sequence", () => {
  const book = new Book();
  book.snapshot(
    snapshot(
      10,
      [
        ["99.5", "1"],
        ["99", "2"],
      ],
      [["100", "3"]],
    ),
  );
  const change = records(
    10,
    tick("level", "bid", "99.75", "0.5"),
    tick("level", "bid", "99", "0"),
    tick("level", "ask", "101", "4", 1),
  );
  assert.equal(book.apply(change), true);
  assert.deepEqual(shown(book), {
    bids: [
      ["99.75", "0.5"],
      ["99.5", "1"],
    ],
    asks: [
      ["100", "3"],
      ["101", "4"],
    ],
  });
  assert.equal(book.seq, 13);
});

test("what comes again behind a reconnect changes nothing, and what is new of it counts", () => {
  const book = new Book();
  book.snapshot(snapshot(10, [["1", "1"]], []));
  const both = records(10, tick("level", "bid", "1", "5"), tick("level", "bid", "2", "6"));
  assert.equal(book.apply(records(10, tick("level", "bid", "1", "5"))), true);
  assert.equal(book.apply(records(11, tick("level", "bid", "1", "0"))), true);
  assert.equal(book.apply(both), true);
  assert.deepEqual(shown(book).bids, []);
  assert.equal(book.apply(records(11, tick("level", "bid", "1", "0"), tick("level", "bid", "3", "7"))), true);
  assert.deepEqual(shown(book).bids, [["3", "7"]]);
});

test("a hole and another life of the engine are noticed", () => {
  const book = new Book();
  assert.equal(book.apply(records(0)), false);
  book.snapshot(snapshot(10, [], []));
  assert.equal(book.apply(records(11, tick("level", "bid", "1", "5"))), false);
  assert.equal(book.apply({ ...records(10, tick("level", "bid", "1", "5")), epoch: 8 }), false);
  assert.deepEqual(shown(book).bids, []);
});

test("a gap or a lost connection makes the book stale until it is cleared and whole again", () => {
  for (const end of [tick("gap", null, "1", "3", 128), tick("status", null, "2", null, 128)]) {
    const book = new Book();
    book.snapshot(snapshot(0, [["1", "1"]], []));
    book.tick(end);
    assert.equal(book.state, "stale");
    assert.notEqual(book.why, "");
    book.tick(tick("level", "bid", "2", "2", 1));
    assert.deepEqual(shown(book).bids, [["1", "1"]]);
    const late: LevelsEvent = {
      ...HEAD,
      type: "levels",
      seq: 0,
      count: 1,
      ts_recv: null,
      bids: [["5", "5"]],
      asks: [],
    };
    assert.equal(book.apply(late), true);
    assert.deepEqual(shown(book).bids, [["1", "1"]]);
    book.tick(tick("clear", null, null, null));
    assert.equal(book.state, "loading");
    book.tick(tick("level", "bid", "3", "3", 1));
    assert.equal(book.state, "live");
    assert.deepEqual(shown(book).bids, [["3", "3"]]);
  }
});

test("what concerns other streams leaves the book alone", () => {
  const book = new Book();
  book.snapshot(snapshot(0, [["1", "1"]], []));
  book.tick(tick("gap", null, "1", "3", 32)); // trades are missing
  book.tick(tick("status", null, "1", null, 128)); // connected
  book.tick(tick("level", "bid", "9", "9", 16)); // of a partial book
  book.tick(tick("level", "bid", "9", "-1"));
  book.tick(tick("clear", null, null, null, 4096)); // of a book of orders
  assert.equal(book.state, "live");
  assert.deepEqual(shown(book).bids, [["1", "1"]]);
});

test("a conflated event that began before the snapshot counts, one that ended before does not", () => {
  const book = new Book();
  book.snapshot(snapshot(10, [["1", "1"]], []));
  const levels = (seq: number, count: number, bids: Level[]): LevelsEvent => ({
    ...HEAD,
    type: "levels",
    seq,
    count,
    ts_recv: null,
    bids,
    asks: [],
  });
  assert.equal(book.apply(levels(5, 4, [["1", "7"]])), true);
  assert.deepEqual(shown(book).bids, [["1", "1"]]);
  assert.equal(book.apply(levels(8, 4, [["1", "8"]])), true);
  assert.deepEqual(shown(book).bids, [["1", "8"]]);
  assert.equal(book.seq, 12);
});

test("any sequence of changes gives what a plain map of them gives, in order", () => {
  let state = 20_261_127;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % below;
  };
  const book = new Book();
  book.snapshot(snapshot(0, [], []));
  const plain = { bid: new Map<string, string>(), ask: new Map<string, string>() };
  for (let seq = 0; seq < 5_000; seq++) {
    const side = random(2) ? "bid" : "ask";
    const price = `${1000 + random(300)}.${random(10)}`;
    const size = String(random(4));
    book.apply(records(seq, tick("level", side, price, size, 1)));
    const key = formatDecimal(parseDecimal(price));
    if (size === "0") plain[side].delete(key);
    else plain[side].set(key, size);
  }
  const sorted = (sizes: Map<string, string>, sign: number): Level[] =>
    [...sizes].sort(([a], [b]) => sign * (Number(a) - Number(b)));
  assert.deepEqual(shown(book), { bids: sorted(plain.bid, -1), asks: sorted(plain.ask, 1) });
});
