// Decimal text as exact integers: every price and size is a bigint in units of 10^-18, whatever scale it came with.

export const SCALE = 18;
const ONE = 10n ** BigInt(SCALE);

/** "64000.10" as 64000100000000000000000n. Throws for what is no decimal of at most 18 places. */
export function parseDecimal(text: string): bigint {
  const match = /^(-?)(\d+)(?:\.(\d{1,18}))?$/.exec(text);
  if (!match) throw new RangeError(`not a decimal of at most ${SCALE} places: ${text.slice(0, 60)}`);
  const units = BigInt(match[2]! + (match[3] ?? "").padEnd(SCALE, "0"));
  return match[1] ? -units : units;
}

/** Exact text with at least `places` decimals; more where the value has them. */
export function formatDecimal(value: bigint, places = 0): string {
  const size = value < 0n ? -value : value;
  const fraction = (size % ONE).toString().padStart(SCALE, "0");
  const kept = Math.max(places, placesOf(value));
  return `${value < 0n ? "-" : ""}${size / ONE}${kept ? `.${fraction.slice(0, kept)}` : ""}`;
}

/** How many decimals a value needs. */
export function placesOf(value: bigint): number {
  let rest = (value < 0n ? -value : value) % ONE;
  if (rest === 0n) return 0;
  let places = SCALE;
  while (rest % 10n === 0n) {
    rest /= 10n;
    places -= 1;
  }
  return places;
}

/** For pixels alone: the nearest float. */
export function toNumber(value: bigint): number {
  return Number(value) / 1e18;
}

/** part / whole between 0 and 1, for the length of a bar. */
export function ratio(part: bigint, whole: bigint): number {
  return whole > 0n ? Number((part * 10_000n) / whole) / 10_000 : 0;
}

/** As many decimals as any value seen so far needs, so that columns align and do not jump. */
export class Places {
  #most = 0;

  get count(): number {
    return this.#most;
  }

  see(value: bigint): void {
    if (this.#most < SCALE) this.#most = Math.max(this.#most, placesOf(value));
  }

  text(value: bigint): string {
    return formatDecimal(value, this.#most);
  }
}
