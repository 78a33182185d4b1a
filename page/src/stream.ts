// Server-Sent Events over fetch: unlike an EventSource it shows heartbeats, takes a cursor, and survives a refusal.

import { answerOf, messageOf } from "./api.ts";
import type { StreamEvent } from "./wire.ts";

export interface Framed {
  id: string | null;
  type: string;
  data: string;
}

/** Cuts text into events; a comment counts as a sign of life only. */
export class EventParser {
  #rest = "";

  feed(text: string): Framed[] {
    const parts = (this.#rest + text).split("\n\n");
    this.#rest = parts.pop() ?? "";
    const found: Framed[] = [];
    for (const part of parts) {
      const event: Framed = { id: null, type: "message", data: "" };
      for (const line of part.split("\n")) {
        const at = line.indexOf(":");
        if (at < 1) continue;
        const value = line.slice(at + 1).replace(/^ /, "");
        const field = line.slice(0, at);
        if (field === "id") event.id = value;
        else if (field === "event") event.type = value;
        else if (field === "data") event.data += value;
      }
      if (event.id !== null || event.data) found.push(event);
    }
    return found;
  }
}

export interface Listener {
  event(event: StreamEvent): void;
  /** A detail where the stream has ended, else null: it stands. */
  connection(trouble: string | null): void;
}

const SILENCE_MS = 35_000; // a heartbeat comes every 15 s
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8_000;

/** Events of these topics until `close`; comes back by itself behind the last event, without a hole. */
export class Stream {
  /** When the last byte came, of `performance.now()`. */
  heard = performance.now();
  #cursor = "";
  #closed = false;
  #abort = new AbortController();
  readonly #query: Record<string, string>;
  readonly #listener: Listener;

  constructor(topics: string[], conflateMs: number, listener: Listener) {
    this.#query = { topics: topics.join(","), conflate_ms: String(conflateMs) };
    this.#listener = listener;
    void this.#run();
  }

  close(): void {
    this.#closed = true;
    this.#abort.abort();
  }

  /** Forget the cursor and begin with snapshots. */
  restart(): void {
    this.#cursor = "";
    this.#abort.abort();
  }

  async #run(): Promise<void> {
    let wait = FIRST_WAIT_MS;
    while (!this.#closed) {
      this.#abort = new AbortController();
      let trouble = "the stream has ended";
      const since = performance.now();
      try {
        await this.#read(this.#abort);
      } catch (error) {
        trouble = this.#abort.signal.aborted ? "no sign of life" : messageOf(error);
      }
      if (this.#closed) return;
      this.#listener.connection(trouble);
      if (performance.now() - since > 5_000) wait = FIRST_WAIT_MS;
      await new Promise((resolve) => setTimeout(resolve, wait * (0.75 + Math.random() / 2)));
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    }
  }

  async #read(abort: AbortController): Promise<void> {
    const headers: Record<string, string> = this.#cursor ? { "Last-Event-ID": this.#cursor } : {};
    const answer = await answerOf("/api/v1/stream", this.#query, { headers, signal: abort.signal, cache: "no-store" });
    if (!answer.body) throw new Error("the answer is empty");
    this.heard = performance.now();
    this.#listener.connection(null);
    const watch = setInterval(() => {
      if (performance.now() - this.heard > SILENCE_MS) abort.abort();
    }, 1_000);
    try {
      const parser = new EventParser();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || abort.signal.aborted) return;
        this.heard = performance.now();
        for (const framed of parser.feed(value)) this.#take(framed);
      }
    } finally {
      clearInterval(watch);
    }
  }

  #take(framed: Framed): void {
    if (framed.type === "error") throw new Error((JSON.parse(framed.data) as { detail: string }).detail);
    if (framed.data) this.#listener.event(JSON.parse(framed.data) as StreamEvent);
    if (framed.id !== null) this.#cursor = framed.id;
  }
}
