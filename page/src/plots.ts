// The small plots: cumulative depth around the middle of the book, and spread and imbalance over time.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { toNumber } from "./decimal.ts";
import type { Market } from "./market.ts";
import { colour, onTheme } from "./theme.ts";
import { clockText } from "./times.ts";

type Column = (number | null)[];

/** One uPlot that follows the size of its element, and is made anew when the colours change. */
class Plot {
  #plot: uPlot | null = null;
  #data: uPlot.AlignedData;
  readonly #root: HTMLElement;
  readonly #options: () => Omit<uPlot.Options, "width" | "height">;

  constructor(root: HTMLElement, columns: number, options: () => Omit<uPlot.Options, "width" | "height">) {
    this.#root = root;
    this.#options = options;
    this.#data = Array.from({ length: columns }, () => []) as unknown as uPlot.AlignedData;
    new ResizeObserver(() => {
      const size = this.#size();
      if (!this.#plot) this.#make();
      else if (size.width !== this.#plot.width || size.height !== this.#plot.height) this.#plot.setSize(size);
    }).observe(root);
    onTheme(() => this.#make());
  }

  set(data: Column[]): void {
    this.#data = data as uPlot.AlignedData;
    this.#plot?.setData(this.#data);
  }

  #size(): { width: number; height: number } {
    return { width: this.#root.clientWidth, height: this.#root.clientHeight };
  }

  #make(): void {
    this.#plot?.destroy();
    this.#plot = null;
    const size = this.#size();
    if (size.width > 40 && size.height > 40)
      this.#plot = new uPlot({ ...this.#options(), ...size }, this.#data, this.#root);
  }
}

function axis(more: uPlot.Axis): uPlot.Axis {
  return {
    stroke: colour("dim"),
    font: `11px ${getComputedStyle(document.body).fontFamily}`,
    grid: { stroke: colour("line", 0.5), width: 1 },
    ticks: { show: false },
    ...more,
  };
}

/** Ticks with as many decimals as their distance needs; none where a filter has taken one. */
function rounded(_: uPlot, ticks: (number | null)[], __: number, ___: number, step: number): string[] {
  const places = Math.max(0, Math.min(10, Math.ceil(-Math.log10(step) - 1e-9)));
  return ticks.map((value) => value?.toFixed(places) ?? "");
}

/** A line that stays where it is until the next point. */
function stepped(more: uPlot.Series, align: 1 | -1 = 1): uPlot.Series {
  return { points: { show: false }, paths: uPlot.paths.stepped!({ align }), ...more };
}

function clocks(_: uPlot, ticks: number[]): string[] {
  return ticks.map((value) => clockText(BigInt(Math.round(value * 1000)) * 1_000_000n, 0));
}

const LEVELS = 400;

export class DepthPlot {
  readonly #plot: Plot;
  constructor(root: HTMLElement) {
    const side = (name: string, align: 1 | -1): uPlot.Series =>
      stepped({ stroke: colour(name), fill: colour(name, 0.16), width: 1.5 }, align);
    this.#plot = new Plot(root, 3, () => ({
      legend: { show: false },
      cursor: { show: false },
      padding: [6, 24, 0, 0],
      scales: { x: { time: false }, y: { range: (_, __, max) => [0, max || 1] } },
      axes: [axis({ size: 22, space: 70, values: rounded }), axis({ size: 44, values: rounded })],
      series: [{}, side("up", -1), side("down", 1)],
    }));
  }

  /** Draw as far to each side as the shorter one reaches. */
  draw(market: Market): void {
    const bids = market.book.bids.best(LEVELS).map(([price, size]) => [toNumber(price), toNumber(size)] as const);
    const asks = market.book.asks.best(LEVELS).map(([price, size]) => [toNumber(price), toNumber(size)] as const);
    const [bid, ask] = [bids[0], asks[0]];
    if (!bid || !ask) return this.#plot.set([[], [], []]);
    const middle = (bid[0] + ask[0]) / 2;
    const reach = Math.min(middle - bids.at(-1)![0], asks.at(-1)![0] - middle);
    const cumulate = (levels: (readonly [number, number])[]): [number, number][] => {
      let total = 0;
      return levels
        .filter(([price]) => Math.abs(price - middle) <= reach)
        .map(([price, size]) => [price, (total += size)]);
    };
    const left = cumulate(bids).reverse();
    const right = cumulate(asks);
    this.#plot.set([
      [...left.map(([price]) => price), ...right.map(([price]) => price)],
      [...left.map(([, total]) => total), ...right.map(() => null)],
      [...left.map(() => null), ...right.map(([, total]) => total)],
    ]);
  }
}

export interface StripPoint {
  time_s: number;
  /** null: nobody knows, as the book was stale. */
  spread: number | null;
  imbalance: number | null;
}

const POINTS = 600;

export class StripPlot {
  readonly #plot: Plot;
  #points: StripPoint[] = [];

  constructor(root: HTMLElement) {
    this.#plot = new Plot(root, 4, () => ({
      legend: { show: false },
      cursor: { show: false },
      padding: [6, 8, 0, 0],
      // One picture, two bands: the spread above, the imbalance below.
      scales: {
        x: { time: false },
        imbalance: { range: [-1, 3.4] },
        spread: { range: (_, __, max) => [-(max || 1), (max || 1) * 1.1] },
      },
      axes: [
        axis({ size: 20, space: 90, values: clocks }),
        axis({
          scale: "spread",
          size: 44,
          space: 22,
          filter: (_, ticks) => ticks.map((value) => (value < 0 ? null : value)),
          values: rounded,
        }),
        axis({
          scale: "imbalance",
          side: 1,
          size: 34,
          splits: () => [-1, 0, 1],
          values: () => ["ask", "0", "bid"],
          grid: { show: false },
        }),
      ],
      series: [
        {},
        stepped({ scale: "imbalance", fill: colour("up", 0.3), fillTo: 0 }),
        stepped({ scale: "imbalance", fill: colour("down", 0.3), fillTo: 0 }),
        stepped({ scale: "spread", stroke: colour("ink"), width: 1.25 }),
      ],
    }));
  }

  clear(): void {
    this.#points = [];
    this.#draw();
  }

  /** From here on nobody knows. */
  interrupt(time_s: number): void {
    if (this.#points.at(-1)?.spread != null) this.add([{ time_s, spread: null, imbalance: null }]);
  }

  /** Points behind, or in front of, those that are there. */
  add(points: StripPoint[], before = false): void {
    const first = this.#points[0]?.time_s ?? Infinity;
    const last = this.#points.at(-1)?.time_s ?? -Infinity;
    this.#points = before
      ? [...points.filter((one) => one.time_s < first), ...this.#points]
      : [...this.#points, ...points.filter((one) => one.time_s > last)];
    this.#points = this.#points.slice(-POINTS);
    this.#draw();
  }

  #draw(): void {
    this.#plot.set([
      this.#points.map((one) => one.time_s),
      this.#points.map(({ imbalance }) => imbalance && Math.max(0, imbalance)),
      this.#points.map(({ imbalance }) => imbalance && Math.min(0, imbalance)),
      this.#points.map((one) => one.spread),
    ]);
  }
}

const RATES = 300;

/** Records received and stored a second. */
export class RatePlot {
  readonly #plot: Plot;
  #points: [number, number, number][] = [];

  constructor(root: HTMLElement) {
    const series = (name: string, more: Partial<uPlot.Series>): uPlot.Series => ({
      stroke: colour(name),
      width: 1.5,
      points: { show: false },
      ...more,
    });
    this.#plot = new Plot(root, 3, () => ({
      legend: { show: false },
      cursor: { show: false },
      padding: [8, 12, 0, 0],
      scales: { x: { time: false }, y: { range: (_, __, max) => [0, (max || 1) * 1.15] } },
      axes: [axis({ size: 22, space: 90, values: clocks }), axis({ size: 48, space: 26, values: rounded })],
      series: [{}, series("accent", { fill: colour("accent", 0.12) }), series("up", {})],
    }));
  }

  add(time_s: number, received: number, stored: number): void {
    this.#points = [...this.#points, [time_s, received, stored] as [number, number, number]].slice(-RATES);
    this.#plot.set([0, 1, 2].map((column) => this.#points.map((point) => point[column]!)));
  }
}
