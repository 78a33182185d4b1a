// How a subscriber follows one topic: holes, and other lives of the engine. No sockets, no clocks.

import { readHeader, readRecords } from "./wire.mjs";

const TRIES = 3;
const HELD_BYTES = 64 << 20;

/**
 * One topic. Gives its rows to `give(kind, epoch, topicSeq, producer, rows)`, in order, each once: from the first
 * `onProgress` on, and where it is `fromStart`, since the engine did not have it when its user joined, from its first row.
 */
export class Follower {
  constructor(topic, give, { fromStart = false } = {}) {
    this.topic = topic;
    this.give = give;
    this.fromStart = fromStart;
    this.floor = null; // epoch and next topic sequence when its user joined
    this.epoch = -1; // of the stream that is followed; none yet
    this.expected = 0; // topic sequence of the next record to give
    this.last = null; // producer, seq and bytes of the last record that has a producer
    this.shared = false; // several producers count seqs here: those of one say nothing of the other's
    this.asked = null; // the request under way
    this.unsent = false;
    this.tries = 0;
    this.paused = false; // the request under way is sent again when the engine has something of the topic
    this.entering = -1; // epoch to go on with when what lies before it is here
    this.held = []; // live messages that wait for an answer
    this.heldBytes = 0;
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
    this.heldBytes += payload.length;
    while (this.heldBytes > HELD_BYTES) this.#next(); // it is asked for later, as all that was missed
    this.#workOff();
  }

  #next() {
    const [header, payload] = this.held.shift();
    this.heldBytes -= payload.length;
    return [header, payload];
  }

  /** The engine was asked how far the topic is: what it said the time before must be here. */
  onProgress(epoch, nextSeq) {
    const promised = this.promised;
    this.promised = nextSeq;
    if (this.paused && nextSeq) [this.paused, this.unsent] = [false, true];
    if (this.asked || epoch < this.epoch) return;
    this.#standAtFloor(epoch);
    if (this.epoch < 0) {
      if (this.fromStart) [this.epoch, this.expected, this.promised] = [epoch, 0, 0];
      else if (!this.floor) this.floor = { epoch, nextSeq };
      else if (this.floor.epoch === epoch && promised > this.floor.nextSeq) {
        [this.epoch, this.expected] = [epoch, this.floor.nextSeq];
        this.#miss(promised);
      }
    } else if (epoch === this.epoch) this.#miss(promised);
    else if (!this.#bridges) {
      this.#cross(epoch);
      this.#miss(nextSeq);
    } else if (nextSeq) this.#askWhereItBegan(epoch);
  }

  onReply(reply, frames) {
    const asked = this.asked;
    this.asked = null;
    const early = reply.type === "refused" || (reply.type === "gone" && reply.epoch > this.epoch && !reply.next_seq);
    if (asked.type === "history") this.#onHistory(asked, reply, frames);
    else if (reply.type === "recover") this.#onRecovered(asked, frames);
    else if (early && this.#bridges && (this.tries += 1) < TRIES) [this.asked, this.paused] = [asked, true];
    else if (reply.type === "gone" && reply.epoch === this.epoch) {
      this.#lose(Math.min(reply.oldest, asked.last + 1));
      if (this.expected <= asked.last) this.#ask({ ...asked, first: this.expected });
    } else if (reply.type === "gone" && reply.epoch > this.epoch && this.#bridges) this.#bridge(reply);
    else this.#giveUp(asked);
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
    this.#giveUp(asked);
    this.#workOff();
  }

  /** Whether what was missed between two lives of the engine can be asked for. */
  get #bridges() {
    return this.last !== null && !this.shared;
  }

  #giveUp(asked) {
    if (this.entering > this.epoch || asked.type === "history") this.#enter(false);
    else this.#lose(asked.last + 1);
  }

  #workOff() {
    while (!this.asked && this.held.length) {
      const [header, payload] = this.held[0];
      this.#standAtFloor(header.epoch);
      if (this.epoch < 0) this.#begin(header);
      if (header.epoch > this.epoch) {
        if (this.#bridges) {
          this.#askWhereItBegan(header.epoch);
          return;
        }
        this.#cross(header.epoch);
      }
      if (header.epoch === this.epoch && this.#miss(header.firstSeq)) return;
      this.#next();
      if (header.epoch === this.epoch) this.#take("live", header, payload);
    }
  }

  /** The first message: records between where its user joined and this one were published before the engine heard of it. */
  #begin({ epoch, firstSeq }) {
    const joined = this.fromStart ? 0 : this.floor?.epoch === epoch ? this.floor.nextSeq : firstSeq;
    [this.epoch, this.expected, this.promised] = [epoch, Math.min(joined, firstSeq), 0];
  }

  /** Where its user joined a life of the engine that ended before a message came, something may be missing. */
  #standAtFloor(epoch) {
    if (this.epoch < 0 && this.floor && this.floor.epoch < epoch)
      [this.epoch, this.expected] = [this.floor.epoch, this.floor.nextSeq];
  }

  /** Ask for what is not here before a topic sequence; returns whether there is such. */
  #miss(until) {
    if (until <= this.expected) return false;
    this.#ask({ type: "recover", epoch: this.epoch, first: this.expected, last: until - 1 });
    return true;
  }

  /** Give what is new of a message. */
  #take(kind, header, payload) {
    const known = Math.max(0, this.expected - header.firstSeq);
    if (known >= header.records) return;
    this.#hand(kind, header, payload, known);
  }

  #hand(kind, header, payload, skip) {
    const rows = readRecords(header, payload, skip);
    if (!rows.length) return;
    this.give(kind, this.epoch, this.expected, header.producer, rows);
    this.expected += rows.length;
    if (!header.producer) return;
    this.shared ||= this.last !== null && this.last.producer !== header.producer;
    const record = payload.subarray(-header.recordBytes);
    this.last = { producer: header.producer, seq: Number(rows.at(-1).seq), record };
  }

  #lose(until) {
    if (until <= this.expected) return;
    this.give("lost", this.epoch, this.expected, "", [], until - this.expected);
    this.expected = until;
  }

  #onRecovered(asked, frames) {
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
  #askWhereItBegan(epoch) {
    this.entering = epoch;
    this.#ask({ type: "recover", epoch: this.epoch, first: this.expected, last: this.expected });
  }

  #bridge(gone) {
    this.entering = gone.epoch;
    if (gone.producer !== this.last.producer || gone.begin_seq <= this.last.seq) this.#enter(false);
    else this.#ask({ type: "history", producer: gone.producer, first_seq: this.last.seq, last_seq: gone.begin_seq - 1 });
  }

  /** The answer begins with the record that is here, or the store is not that of the life before. */
  #onHistory(asked, reply, frames) {
    let skip = asked.first_seq === this.last.seq ? 1 : 0;
    const same = !skip || (frames.length && frames[1].subarray(0, this.last.record.length).equals(this.last.record));
    if (reply.type !== "history" || !same) {
      this.#enter(false);
      return;
    }
    for (let i = 0; i < frames.length; i += 2) {
      this.#hand("recovered", readHeader(frames[i]), frames[i + 1], skip);
      skip = 0;
    }
    if (reply.last_seq >= asked.last_seq) this.#enter(true);
    else if (reply.last_seq >= asked.first_seq && reply.resume_seq === reply.last_seq + 1)
      this.#ask({ ...asked, first_seq: reply.resume_seq });
    else this.#enter(false);
  }

  #cross(epoch) {
    this.entering = epoch;
    this.#enter(false);
  }

  /** Go on with the next life of the engine. */
  #enter(complete) {
    if (!complete) {
      this.give("lost", this.epoch, this.expected, "", [], -1);
      [this.last, this.shared] = [null, false];
    }
    [this.epoch, this.expected, this.promised] = [this.entering, 0, 0];
  }

  #ask(request) {
    this.asked = { ...request, topic: this.topic };
    [this.unsent, this.tries] = [true, 0];
  }
}
