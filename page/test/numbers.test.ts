import assert from "node:assert/strict";
import { test } from "node:test";
import { formatDecimal, parseDecimal, Places, placesOf, ratio } from "../src/decimal.ts";
import { between, bucketsOf, parseMetrics, quantile } from "../src/metrics.ts";
import { clockText, durationText, formatTime, parseTime } from "../src/times.ts";

test("decimals are exact where a float is not", () => {
  for (const text of [
    "0",
    "0.1",
    "64000.10",
    "9223372036854775807",
    "92233720368.54775807",
    "0.000000000000000001",
    "-12.5",
  ])
    assert.equal(formatDecimal(parseDecimal(text), (text.split(".")[1] ?? "").length), text);
  assert.equal(parseDecimal("0.1") + parseDecimal("0.2"), parseDecimal("0.3"));
  assert.equal(formatDecimal(parseDecimal("59999.92000000")), "59999.92");
  for (const text of ["", "1.", ".5", "1e5", "0x10", "1.0000000000000000001", "١"])
    assert.throws(() => parseDecimal(text), RangeError);
});

test("columns have as many decimals as any of their numbers needs", () => {
  const places = new Places();
  for (const text of ["1.50", "2.125", "3"]) places.see(parseDecimal(text));
  assert.equal(places.count, 3);
  assert.equal(places.text(parseDecimal("1.5")), "1.500");
  assert.equal(placesOf(parseDecimal("-0.250")), 2);
  assert.equal(ratio(1n, 3n), 0.3333);
  assert.equal(ratio(1n, 0n), 0);
});

test("times keep their nanoseconds", () => {
  const text = "2026-03-01T12:00:00.123456789Z";
  assert.equal(formatTime(parseTime(text)!), text);
  assert.equal(parseTime("2026-03-01"), 1772323200000000000n);
  assert.equal(parseTime("2026-03-01 12:00"), parseTime("2026-03-01T12:00:00Z"));
  assert.equal(parseTime("1772323200000000001"), 1772323200000000001n);
  assert.equal(clockText(parseTime(text)!), "12:00:00.123");
  for (const wrong of ["", "yesterday", "2026-13-01", "12:00"]) assert.equal(parseTime(wrong), null);
  assert.deepEqual([0.04, 59.6, 3599, 86_399, 90_000].map(durationText), [
    "0.0 s",
    "1 min 0 s",
    "59 min 59 s",
    "23 h 59 min",
    "1 d 1 h",
  ]);
});

test("metrics are read with their labels, and quantiles are bounds that hold", () => {
  const metrics = parseMetrics(
    [
      "# HELP tickplant_x About.",
      'tickplant_x{a="1",b="q\\"uo\\\\te"} 2.5',
      'tickplant_s_seconds_bucket{process="one",le="0.001"} 20',
      'tickplant_s_seconds_bucket{process="one",le="0.01"} 20',
      'tickplant_s_seconds_bucket{process="one",le="+Inf"} 20',
      'tickplant_s_seconds_bucket{le="0.001"} 30',
      'tickplant_s_seconds_bucket{le="0.01"} 79',
      'tickplant_s_seconds_bucket{le="+Inf"} 80',
      "tickplant_up 1",
    ].join("\n"),
  );
  assert.deepEqual(metrics.get("x"), [{ labels: { a: "1", b: 'q"uo\\te' }, value: 2.5 }]);
  assert.equal(metrics.get("up")?.[0]?.value, 1);
  const buckets = bucketsOf(metrics, "s_seconds");
  assert.deepEqual(
    [0.5, 0.51, 0.99, 1].map((share) => quantile(buckets, share)),
    [0.001, 0.01, 0.01, Infinity],
  );
  assert.equal(quantile(between(buckets, buckets), 0.5), null);
});
