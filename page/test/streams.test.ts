import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { EventParser, Stream } from "../src/stream.ts";
import type { StreamEvent } from "../src/wire.ts";

const real = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = real;
});

test("events are cut out of the stream wherever its parts end", () => {
  const text = 'retry: 1000\n: hello\n\nid: a~1\nevent: records\ndata: {"x":\ndata: 1}\n\n: \n\nid: b\n\n';
  for (let size = 1; size < text.length; size++) {
    const parser = new EventParser();
    const found = [];
    for (let at = 0; at < text.length; at += size) found.push(...parser.feed(text.slice(at, at + size)));
    assert.deepEqual(found, [
      { id: "a~1", type: "records", data: '{"x":1}' },
      { id: "b", type: "message", data: "" },
    ]);
  }
});

function answer(text: string): Response {
  return new Response(new Blob([text]).stream(), { status: 200 });
}

test("a stream that ends is taken up again behind its last event", async () => {
  const cursors: (string | null)[] = [];
  const seen: number[] = [];
  const troubles: (string | null)[] = [];
  let done = (): void => undefined;
  const finished = new Promise<void>((resolve) => (done = resolve));
  globalThis.fetch = ((_: string, options: RequestInit) => {
    const cursor = new Headers(options.headers).get("last-event-id");
    cursors.push(cursor);
    if (cursors.length === 2) return Promise.resolve(new Response(null, { status: 503 }));
    const next = cursor === null ? 1 : Number(cursor) + 1;
    return Promise.resolve(answer(`id: ${next}\nevent: records\ndata: {"seq":${next}}\n\n`));
  }) as typeof fetch;
  const stream = new Stream(["v.S.book"], 50, {
    event: (event: StreamEvent) => {
      seen.push(event.seq);
      if (seen.length === 2) done();
    },
    connection: (trouble) => troubles.push(trouble),
  });
  await finished;
  stream.close();
  assert.deepEqual(seen, [1, 2]);
  assert.deepEqual(cursors, [null, "1", "1"]);
  assert.deepEqual(troubles.slice(0, 4), [null, "the stream has ended", "the gateway answers 503", null]);
});
