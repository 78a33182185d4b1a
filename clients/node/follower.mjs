// How a subscriber follows one topic: holes, and other lives of the engine. No sockets, no clocks.

import { readHeader, readRecords } from "./wire.mjs";

const TRIES = 3;

/** One topic. Gives its rows to `give(kind, epoch, topicSeq, producer, rows)`, in order, each once. */
export class Follower {
  constructor(topic, give) {
    this.topic = topic;
    this.give = give;
    this.epoch = -1; // of the stream that is followed; none yet
    this.expected = 0; // topic sequence of the next record to give
    this.last = null; // producer and seq of the last record that has a producer
    this.asked = null; // the request under way
    this.unsent = false;
    this.tries = 0;
    this.entering = -1; // epoch to go on with when what lies before it is here
    this.held = []; // live messages that wait for an answer
    this.promised = 0; // how far the engine said that the topic was
  }

  /** The request to send now, or null. */
  takeRequest() {
    if (!this.unsent) return null;
    this.unsent = false;
    return this.asked;
  }

  onMessage(header, payload) {
    this.held.push([header, payload]);
    this.#workOff();
  }

  /** The engine was asked how far the topic is: what it said the time before must be here. */
  onProgress(epoch, nextSeq) {
    if (this.epoch < 0) return;
    const promised = this.promised;
    this.promised = nextSeq;
    if (this.asked || epoch < this.epoch || (epoch > this.epoch && !nextSeq)) return;
    if (epoch > this.epoch) this.#askWhereItBegan();
    else if (promised > this.expected) this.#ask({ type: "recover", epoch, first: this.expected, last: promised - 1 });
  }

  onReply(reply, frames) {
    const asked = this.asked;
    this.asked = null;
    if (asked.type === "history") this.#onHistory(asked, reply, frames);
    else if (reply.type === "recover") this.#onRecovered(asked, reply, frames);
    else if (reply.type === "gone" && reply.epoch === this.epoch) {
      this.#lose(Math.min(reply.oldest, asked.last + 1));
      if (this.expected <= asked.last) this.#ask({ ...asked, first: this.expected });
    } else if (reply.type === "gone" && reply.epoch > this.epoch) this.#bridge(reply);
    else this.#lose(asked.last + 1);
    this.#workOff();
  }

  /** The request under way was not answered in time. */
  onTimeout() {
    this.tries += 1;
    if (this.tries < TRIES) {
      this.unsent = true;
      return;
    }
    const asked = this.asked;
    this.asked = null;
    if (asked.type === "history") this.#enter(false);
    else this.#lose(asked.last + 1);
    this.#workOff();
  }

  #workOff() {
    while (!this.asked && this.held.length) {
      const [header, payload] = this.held[0];
      if (this.epoch < 0) [this.epoch, this.expected] = [header.epoch, header.firstSeq];
      if (header.epoch > this.epoch) {
        if (this.last) {
          this.#askWhereItBegan();
          return;
        }
        this.entering = header.epoch;
        this.#enter(false);
      }
      if (header.epoch === this.epoch && header.firstSeq > this.expected) {
        this.#ask({ type: "recover", epoch: this.epoch, first: this.expected, last: header.firstSeq - 1 });
        return;
      }
      this.held.shift();
      if (header.epoch === this.epoch) this.#take("live", header, payload);
    }
  }

  /** Give what is new of a message. */
  #take(kind, header, payload) {
    const known = Math.max(0, this.expected - header.firstSeq);
    if (known >= header.records) return;
    this.#hand(kind, header, readRecords(header, payload, known));
  }

  #hand(kind, header, rows) {
    this.give(kind, this.epoch, this.expected, header.producer, rows);
    this.expected += rows.length;
    if (header.producer) this.last = { producer: header.producer, seq: Number(rows.at(-1).seq) };
  }

  #lose(until) {
    if (until <= this.expected) return;
    this.give("lost", this.epoch, this.expected, "", [], until - this.expected);
    this.expected = until;
  }

  #onRecovered(asked, reply, frames) {
    const before = this.expected;
    for (let i = 0; i < frames.length; i += 2) {
      const header = readHeader(frames[i]);
      if (header.firstSeq <= this.expected) this.#take("recovered", header, frames[i + 1]);
    }
    if (this.expected > asked.last) return;
    if (this.expected > before) this.#ask({ ...asked, first: this.expected });
    else this.#lose(asked.last + 1);
  }

  /** Another life of the engine: it says where it began, in its answer to a question about the one before. */
  #askWhereItBegan() {
    this.#ask({ type: "recover", epoch: this.epoch, first: this.expected, last: this.expected });
  }

  #bridge(gone) {
    this.entering = gone.epoch;
    const next = this.last ? this.last.seq + 1 : -1;
    if (!this.last || gone.producer !== this.last.producer || gone.begin_seq < next) this.#enter(false);
    else if (gone.begin_seq === next) this.#enter(true);
    else this.#ask({ type: "history", producer: gone.producer, first_seq: next, last_seq: gone.begin_seq - 1 });
  }

  #onHistory(asked, reply, frames) {
    for (let i = 0; reply.type === "history" && i < frames.length; i += 2) {
      const header = readHeader(frames[i]);
      this.#hand("recovered", header, readRecords(header, frames[i + 1]));
    }
    if (reply.type === "history" && reply.last_seq >= asked.last_seq) this.#enter(true);
    else if (reply.type === "history" && reply.last_seq >= asked.first_seq && reply.resume_seq === reply.last_seq + 1)
      this.#ask({ ...asked, first_seq: reply.resume_seq });
    else this.#enter(false);
  }

  /** Go on with the next life of the engine. */
  #enter(complete) {
    if (!complete) this.give("lost", this.epoch, this.expected, "", [], -1);
    [this.epoch, this.expected, this.promised] = [this.entering, 0, 0];
  }

  #ask(request) {
    this.asked = { ...request, topic: this.topic };
    [this.unsent, this.tries] = [true, 0];
  }
}
