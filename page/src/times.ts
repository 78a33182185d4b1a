// Times are nanoseconds since the epoch as bigint: a float has none of them any more.

const NS = 1_000_000_000n;

/** RFC 3339 in UTC, a date, or nanoseconds, as the gateway understands them; null for anything else. */
export function parseTime(text: string): bigint | null {
  const trimmed = text.trim();
  if (/^\d{16,19}$/.test(trimmed)) return BigInt(trimmed);
  const match = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?Z?)?$/i.exec(trimmed);
  if (!match) return null;
  const [, day, minute = "00:00", second = "00", fraction = ""] = match;
  const ms = Date.parse(`${day}T${minute}:${second}Z`);
  return Number.isNaN(ms) ? null : BigInt(ms) * 1_000_000n + BigInt(fraction.padEnd(9, "0"));
}

/** 2026-03-01T12:00:00.123456789Z */
export function formatTime(ns: bigint): string {
  const second = new Date(Number(ns / NS) * 1000).toISOString().slice(0, 19);
  return `${second}.${(ns % NS).toString().padStart(9, "0")}Z`;
}

/** 12:00:00.123 in UTC, with so many decimals. */
export function clockText(ns: bigint, decimals = 3): string {
  const text = formatTime(ns);
  return decimals ? text.slice(11, 20 + decimals) : text.slice(11, 19);
}

export function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}

/** 3.2 s, 4 min 10 s, 2 h 5 min, 3 d 4 h */
export function durationText(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}
