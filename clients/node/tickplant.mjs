// Follows topics of a tickplant and prints each record as a line of JSON, each once and in order.
//
//     npm install && node tickplant.mjs --address tcp://127.0.0.1:5555 binance.BTCUSDT.trade binance.ETHUSDT.bbo
//
// --requests ADDRESS   where the engine answers requests; the next port unless given
// A topic is a name, or the beginning of one up to a dot; 64-bit integers are printed as text.

import { parseArgs } from "node:util";
import * as zmq from "zeromq";
import { Follower } from "./follower.mjs";
import { readHeader, readReply, writeRequest } from "./wire.mjs";

const ANSWER_MS = 10_000;
const TICK_MS = 1000;
const BUSY_MS = 10_000;
const UNDER_WAY = 8; // requests: an engine keeps few replies for one client

const beside = (address) =>
  address.startsWith("tcp://") ? address.replace(/\d+$/, (port) => Number(port) + 1) : `${address}.requests`;

const asText = (_, value) => (typeof value === "bigint" ? value.toString() : value);

function print(topic, how, epoch, topicSeq, producer, rows, lost) {
  const lines = how === "lost" ? [{ topic, how, epoch, topic_seq: topicSeq, lost }] : rows.map((row, i) => ({ topic, how, epoch, topic_seq: topicSeq + i, producer, ...row }));
  process.stdout.write(lines.map((line) => `${JSON.stringify(line, asText)}\n`).join(""));
}

class Subscription {
  constructor(topics, address, requests) {
    this.topics = topics;
    this.followers = new Map();
    this.waiting = new Set(); // followers whose turn to ask has not come
    this.asked = new Map(); // by id: who asked, and until when it waits
    this.lastId = 0;
    this.listed = false; // a topic that the first list does not hold begins after it
    this.heardMs = this.checkedMs = 0;
    this.stream = new zmq.Subscriber({ receiveHighWaterMark: 10_000 });
    this.line = new zmq.Dealer({ linger: 0 });
    this.stream.connect(address);
    this.line.connect(requests);
    this.stream.subscribe(...topics);
  }

  async run() {
    this.tick();
    setInterval(() => this.tick(), TICK_MS);
    await Promise.all([this.readStream(), this.readReplies()]);
  }

  wants(topic) {
    return this.topics.some((wanted) => topic === wanted || topic.startsWith(`${wanted}.`));
  }

  follower(topic) {
    if (!this.followers.has(topic)) {
      const give = (...given) => print(topic, ...given);
      this.followers.set(topic, this.wants(topic) ? new Follower(topic, give, { fromStart: this.listed }) : null);
    }
    return this.followers.get(topic);
  }

  async readStream() {
    for await (const [name, header, payload] of this.stream) {
      this.heardMs = Date.now();
      const follower = this.follower(name.toString());
      if (!follower) continue;
      follower.onMessage(readHeader(header), payload);
      this.passOn(follower);
    }
  }

  async readReplies() {
    for await (const [head, ...frames] of this.line) {
      const reply = readReply(head);
      if (reply.type === "topics") {
        for (const { topic, next_seq } of reply.topics) {
          const follower = this.follower(topic);
          follower?.onProgress(reply.epoch, next_seq);
          this.passOn(follower);
        }
        this.listed = true;
        continue;
      }
      const asked = this.asked.get(reply.id);
      if (!asked) continue; // it came too late, and was asked again
      this.asked.delete(reply.id);
      asked.follower.onReply(reply, frames);
      this.passOn(asked.follower);
    }
  }

  /** Send what followers want to know, a few requests at a time. */
  passOn(follower) {
    if (follower) this.waiting.add(follower);
    for (const first of this.waiting) {
      if (this.asked.size >= UNDER_WAY) return;
      this.waiting.delete(first);
      const request = first.takeRequest();
      if (!request) continue;
      this.lastId += 1;
      this.asked.set(this.lastId, { follower: first, untilMs: Date.now() + ANSWER_MS });
      this.send({ ...request, id: this.lastId });
    }
  }

  tick() {
    const nowMs = Date.now();
    for (const [id, { follower, untilMs }] of this.asked) {
      if (nowMs < untilMs) continue;
      this.asked.delete(id);
      follower.onTimeout();
      this.passOn(follower);
    }
    if (nowMs - this.checkedMs >= (nowMs - this.heardMs > TICK_MS ? TICK_MS : BUSY_MS)) {
      this.checkedMs = nowMs;
      this.send({ type: "topics" });
    }
  }

  /** ZeroMQ takes one send after the other. */
  send(request) {
    this.sending = (this.sending ?? Promise.resolve()).then(() => this.line.send(writeRequest(request)));
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { address: { type: "string", default: "tcp://127.0.0.1:5555" }, requests: { type: "string" } },
});
if (!positionals.length) {
  console.error("usage: node tickplant.mjs [--address ADDRESS] [--requests ADDRESS] TOPIC …");
  process.exit(2);
}
process.on("SIGTERM", () => process.exit(0));
process.stdout.on("error", () => process.exit(0)); // the reader of the lines has gone
new Subscription(positionals, values.address, values.requests ?? beside(values.address)).run().catch((error) => {
  console.error(`tickplant: ${error.message}`);
  process.exit(1);
});
