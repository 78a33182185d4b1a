// What the gateway says: shapes of its answers and of the events of its streams (docs/gateway.md).

export type Level = [price: string, size: string];

export interface Instrument {
  venue: string;
  symbol: string;
  price_scale: number;
  size_scale: number;
  channels: string[];
  live: boolean;
}

export interface BookAnswer {
  ts_event: string | null;
  ts_recv: string | null;
  stale: boolean;
  topic_seq: number | null;
  epoch: number | null;
  bids: Level[];
  asks: Level[];
}

/** A record of the table `ticks`, live or from history. */
export interface Tick {
  ts_event: string | null;
  ts_recv: string;
  kind: string;
  side: "bid" | "ask" | "buy" | "sell" | null;
  price: string | null;
  size: string | null;
  flags: number;
  seq: number;
  note?: string;
  recv_ns?: string;
}

export interface BarRow {
  ts_event: string;
  ts_recv: string;
  ts_open: string;
  interval_s: number;
  open: string;
  high: string;
  low: string;
  close: string;
  volume: string;
  buy_volume: string;
  trades: number;
}

export interface BboRow {
  ts_event: string | null;
  ts_recv: string;
  bid_price: string | null;
  bid_size: string | null;
  ask_price: string | null;
  ask_size: string | null;
  flags: number;
}

interface EventHead {
  topic: string;
  epoch: number;
  seq: number;
}
export interface SnapshotEvent extends EventHead {
  type: "snapshot";
  stale: boolean;
  ts_recv?: string | null;
  bids?: Level[];
  asks?: Level[];
  records?: unknown[];
}
export interface RecordsEvent extends EventHead {
  type: "records";
  count: number;
  records: unknown[];
}
export interface LevelsEvent extends EventHead {
  type: "levels";
  count: number;
  ts_recv: string | null;
  bids: Level[];
  asks: Level[];
}
export interface GapEvent extends EventHead {
  type: "gap";
  lost: number | null;
  reason: string;
}
export type StreamEvent = SnapshotEvent | RecordsEvent | LevelsEvent | GapEvent;

export interface Page<Row> {
  data: Row[];
  next: string | null;
}

export interface CoverageGap {
  cause: string;
  stream: string;
  gaps: number;
  missing: number;
  unknown: number;
  length_s: string;
}
export interface CoverageDay {
  venue: string;
  symbol: string;
  day: string;
  state: "complete" | "gaps" | "missing" | "removed";
  records: number;
  first: string | null;
  last: string | null;
  gaps: CoverageGap[];
}
export interface Gap {
  venue: string;
  symbol: string;
  ts_recv: string;
  ts_event: string | null;
  cause: string;
  streams: string[];
  missing: number | null;
  last_id: string;
  next_id: string;
  seq: number;
}

export interface Process {
  name: string;
  role: string;
  state: string;
  pid: number;
  uptime_s: number;
  restarts: number;
  cpu_percent: number;
  rss_bytes: number;
  counters: Record<string, number | string | boolean | null | Record<string, number>>;
}
export interface Ring {
  producer: string;
  schema: string;
  head: number;
  capacity: number;
  lag: Record<string, number>;
  lost: Record<string, number>;
}
export interface Status {
  data_dir: string;
  uptime_s: number;
  healthy: boolean;
  processes: Process[];
  rings: Ring[];
  accounts: { producer: string; total: string; count: number; off: number }[];
}

const STATUSES = [
  "connected",
  "disconnected",
  "shutdown notice",
  "subscription refused",
  "subscription silent",
  "resync",
  "circuit open",
  "circuit closed",
  "handover",
  "account frames",
  "account ticks",
  "instrument changed",
  "halted",
  "trading",
  "delisted",
  "listed",
  "added",
  "removed",
  "sought",
];

/** What a record of kind status says, in words. */
export function statusOf(tick: Tick): string {
  return STATUSES[Number(tick.price) - 1] ?? `code ${tick.price}`;
}
