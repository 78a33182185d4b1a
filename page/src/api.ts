// Questions to the gateway, as docs/gateway.md has them.

const SESSION = "/api/v1/session";

export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, detail: string) {
    super(detail);
    this.status = status;
  }
}

/** What an error says. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

let onRefused: (detail: string) => void = () => undefined;

/** `listener` hears of each answer that asks for a token. */
export function watchRefusals(listener: (detail: string) => void): void {
  onRefused = listener;
}

type Parameters = Record<string, string | number | boolean | bigint | undefined>;

/** The answer of a route. Raises ApiError with what the gateway says; status 0 where it does not answer. */
export async function answerOf(path: string, parameters: Parameters = {}, init: RequestInit = {}): Promise<Response> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) query.set(name, String(value));
  let answer: Response;
  try {
    answer = await fetch(query.size ? `${path}?${query}` : path, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, "the gateway does not answer");
  }
  if (answer.ok) return answer;
  const problem = (await answer.json().catch(() => ({}))) as { detail?: string };
  const refusal = new ApiError(answer.status, problem.detail ?? `the gateway answers ${answer.status}`);
  if (answer.status === 401 && path !== SESSION) onRefused(refusal.message);
  throw refusal;
}

/** JSON of a route. Raises ApiError. */
export async function ask<T>(path: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<T> {
  return (await (await answerOf(`/api/v1/${path}`, parameters, signal ? { signal } : {})).json()) as T;
}

export async function askMetrics(): Promise<string> {
  return (await answerOf("/metrics")).text();
}

/** Exchange a token for a cookie, which this page cannot read and the browser forgets when it is closed. Raises Error. */
export async function logIn(token: string): Promise<void> {
  const headers = { "Content-Type": "application/json" };
  const answer = await answerOf(SESSION, {}, { method: "POST", headers, body: JSON.stringify({ token }) });
  const { scopes } = (await answer.json()) as { scopes: string[] };
  if (scopes.includes("read")) return;
  await logOut();
  throw new Error("this token does not have the scope read, which the page needs");
}

export async function logOut(): Promise<void> {
  await answerOf(SESSION, {}, { method: "DELETE" });
}

/** The newest question counts: what was asked before is given up. */
export class Latest {
  #abort: AbortController | null = null;

  next(): AbortSignal {
    this.cancel();
    this.#abort = new AbortController();
    return this.#abort.signal;
  }

  cancel(): void {
    this.#abort?.abort();
    this.#abort = null;
  }
}
