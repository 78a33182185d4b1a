// Questions to the gateway, as docs/gateway.md has them.

export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, detail: string) {
    super(detail);
    this.status = status;
  }
}

type Parameters = Record<string, string | number | boolean | bigint | undefined>;

async function answerOf(path: string, parameters: Parameters, signal: AbortSignal | undefined): Promise<Response> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) query.set(name, String(value));
  let answer: Response;
  try {
    answer = await fetch(query.size ? `${path}?${query}` : path, signal ? { signal } : {});
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "the gateway does not answer");
  }
  if (!answer.ok) {
    const problem = (await answer.json().catch(() => ({}))) as { detail?: string };
    throw new ApiError(answer.status, problem.detail ?? `the gateway answers ${answer.status}`);
  }
  return answer;
}

/** JSON of a route. Raises ApiError with what the gateway says; status 0 where it does not answer. */
export async function ask<T>(path: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<T> {
  return (await (await answerOf(`/api/v1/${path}`, parameters, signal)).json()) as T;
}

export async function askMetrics(): Promise<string> {
  return (await answerOf("/metrics", {}, undefined)).text();
}

/** Exchange a token for a cookie, which this page cannot read. */
export async function logIn(token: string): Promise<void> {
  const answer = await fetch("/api/v1/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
  if (!answer.ok) throw new ApiError(answer.status, answer.status === 401 ? "nobody has this token" : "not now");
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
