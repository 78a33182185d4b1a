import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { formatDecimal } from "../src/decimal.ts";
import { Market } from "../src/market.ts";
import { Past } from "../src/past.ts";
import { formatTime } from "../src/times.ts";
import type { Tick } from "../src/wire.ts";

const real = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = real;
});

/** A store of ten records, the nth received at n × 1000 ns: each sets the bid at 1 to n. */
function store(): void {
  const rows = Array.from({ length: 10 }, (_, n) => n + 1).map((n): Tick => ({
    ts_event: null,
    ts_recv: formatTime(BigInt(n * 1000)),
    recv_ns: String(n * 1000),
    kind: "level",
    side: "bid",
    price: "1",
    size: String(n),
    flags: 1,
    seq: n,
  }));
  globalThis.fetch = ((url: string) => {
    const { pathname, searchParams } = new URL(url, "http://localhost");
    const number = (name: string, none: number): number => Number(searchParams.get(name) ?? none);
    if (pathname === "/api/v1/book") {
      const newest = rows.filter((row) => Number(row.recv_ns) <= number("at", 0)).at(-1);
      return Promise.resolve(
        Response.json({
          stale: !newest,
          ts_recv: newest?.ts_recv ?? null,
          bids: newest ? [["1", newest.size]] : [],
          asks: [],
        }),
      );
    }
    if (pathname === "/api/v1/history/trades") return Promise.resolve(Response.json({ data: [], next: null }));
    let data = rows.filter(
      (row) =>
        Number(row.recv_ns) >= number("start", 0) &&
        Number(row.recv_ns) < number("end", 1e9) &&
        row.seq >= number("after", 0),
    );
    const limit = Math.min(number("limit", 1000), 4); // small pages
    data = searchParams.has("newest") ? data.slice(-limit) : data.slice(0, limit);
    const next = data.length && data.at(-1)!.seq < 10 ? String(data.at(-1)!.seq + 1) : null;
    return Promise.resolve(Response.json({ data, next }));
  }) as typeof fetch;
}

function machine(levels = true): { past: Past; bid: () => string; troubles: string[] } {
  store();
  const market = new Market("v", "S");
  const troubles: string[] = [];
  const past = new Past(market, 0n, levels, {
    moved: () => undefined,
    arrived: () => undefined,
    trouble: (detail) => troubles.push(detail),
  });
  return { past, troubles, bid: () => formatDecimal(market.book.bids.best(1)[0]?.[1] ?? 0n) };
}

test("it shows the book of an instant, and steps on and back by record", async () => {
  const { past, bid } = machine();
  await past.seek(3500n);
  assert.deepEqual([bid(), past.at], ["3", 3500n]);
  await past.step();
  assert.deepEqual([bid(), past.at], ["4", 4000n]);
  await past.stepBack();
  assert.deepEqual([bid(), past.at], ["3", 3000n]);
  await past.stepBack();
  assert.deepEqual([bid(), past.at], ["2", 2000n]);
  for (let n = 3; n <= 10; n++) {
    await past.step();
    await new Promise((resolve) => setTimeout(resolve, 1)); // a page may be read again
    assert.deepEqual([bid(), past.at], [String(n), BigInt(n * 1000)]);
  }
  await past.step();
  assert.deepEqual([bid(), past.at, past.ended], ["10", 10_000n, true]);
});

test("it plays as fast as it is asked to, never past what has been read, and ends with the store", async () => {
  const { past, bid } = machine();
  await past.seek(1000n);
  [past.playing, past.speed] = [true, 1];
  past.tick(0.001); // a microsecond: nothing has been read
  assert.deepEqual([bid(), past.at, past.reading], ["1", 1000n, true]);
  past.playing = false; // who pauses waits for nothing
  assert.equal(past.reading, false);
  past.playing = true;
  await new Promise((resolve) => setTimeout(resolve, 5));
  past.tick(0.0005);
  assert.deepEqual([bid(), past.at], ["1", 1500n]);
  past.speed = 2;
  past.tick(0.0005);
  assert.deepEqual([bid(), past.at, past.reading], ["2", 2500n, false]);
  for (let n = 0; n < 20 && past.playing; n++) {
    past.tick(0.005);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.deepEqual([bid(), past.at, past.playing, past.ended], ["10", 10_000n, false, true]);
});

test("the newest wish counts, and a refusal is said", async () => {
  const { past, bid, troubles } = machine();
  await Promise.all([past.seek(2000n), past.seek(7000n)]);
  assert.deepEqual([bid(), past.at], ["7", 7000n]);
  globalThis.fetch = (() =>
    Promise.resolve(Response.json({ detail: "nothing is stored of v S" }, { status: 404 }))) as typeof fetch;
  await past.seek(1n);
  assert.deepEqual(troubles, ["nothing is stored of v S"]);
  assert.equal(bid(), "7");
});

test("a book of orders is asked for one instant at a time, until the clock rests where it is of", async () => {
  const { past, bid } = machine(false);
  const [asked, quick] = [[] as string[], globalThis.fetch];
  globalThis.fetch = (async (url: string) => {
    if (url.startsWith("/api/v1/book")) {
      asked.push(new URL(url, "http://localhost").searchParams.get("at")!);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return quick(url);
  }) as typeof fetch;
  await past.seek(1000n);
  [past.playing, past.speed] = [true, 1];
  past.tick(0.0001); // nothing has been read
  await new Promise((resolve) => setTimeout(resolve, 5));
  for (let n = 0; n < 10; n++) past.tick(0.0001); // ten frames, before the first answer
  past.playing = false;
  assert.deepEqual([past.at, past.reading], [2000n, true]);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual([bid(), past.reading], ["2", false]);
  assert.deepEqual(asked, ["1000", "1100", "2000"]);
});
