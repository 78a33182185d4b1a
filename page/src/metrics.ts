// Prometheus text, as far as this page needs it.

export interface Sample {
  labels: Record<string, string>;
  value: number;
}

/** Samples by name, without the `tickplant_` in front. */
export function parseMetrics(text: string): Map<string, Sample[]> {
  const found = new Map<string, Sample[]>();
  for (const line of text.split("\n")) {
    const match = /^tickplant_(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!match) continue;
    const labels: Record<string, string> = {};
    for (const [, name, value] of (match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
      labels[name!] = value!.replace(/\\n/g, "\n").replace(/\\(.)/g, "$1");
    const value = match[3] === "+Inf" ? Infinity : Number(match[3]);
    const samples = found.get(match[1]!);
    if (samples) samples.push({ labels, value });
    else found.set(match[1]!, [{ labels, value }]);
  }
  return found;
}

/** A histogram: counts up to each bound, cumulated. */
export type Buckets = { bound: number; count: number }[];

/** That of all processes together. */
export function bucketsOf(metrics: Map<string, Sample[]>, name: string): Buckets {
  const counts = new Map<number, number>();
  for (const { labels, value } of metrics.get(`${name}_bucket`) ?? []) {
    const bound = labels["le"] === "+Inf" ? Infinity : Number(labels["le"]);
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return [...counts].map(([bound, count]) => ({ bound, count })).sort((a, b) => a.bound - b.bound);
}

/** What has come between two readings of a histogram. */
export function between(now: Buckets, before: Buckets): Buckets {
  return now.map(({ bound, count }, at) => ({ bound, count: count - (before[at]?.count ?? 0) }));
}

/** The bound that a share of all does not exceed; null where there is none. */
export function quantile(buckets: Buckets, share: number): number | null {
  const all = buckets.at(-1)?.count ?? 0;
  return all > 0 ? (buckets.find(({ count }) => count >= share * all)?.bound ?? null) : null;
}
