"""A topic in several lives of an engine, which is killed and forgets, with a store; and a follower's view of it."""

from __future__ import annotations

import random
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np

from tickplant import wire
from tickplant.client.follower import Follower
from tickplant.client.topic_message import Message
from tickplant.records.layouts import TICK

TOPIC = "binance.X.trade"
FEED, OTHER, NOBODY = "feed", "other", ""
STEPS = {"publish": 8, "drop": 3, "answer": 8, "timeout": 2, "progress": 3, "restart": 1, "forget": 1}


class Made(NamedTuple):
    """A record."""

    seq: int
    price: int  # what tells records apart whose seqs are the same
    producer: str


class TopicLives:
    """Plays the engine and the store."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.shared = chance.random() < 0.2  # two feeds record the symbol, and the engine knows that
        self.epoch = 1
        self.all: list[Made] = []  # ever recorded, less what a power cut took
        self.live: list[Made] = []  # of this life
        self.kept = 0  # topic sequence from which on memory has them
        self.seq = 10
        self.made = 0
        self.live += [self.record(FEED) for _ in range(chance.randint(0, 3))]  # before anybody follows

    def record(self, producer: str) -> Made:
        """The next record."""
        self.seq += self.chance.randint(1, 3)
        self.made += 1
        record = Made(self.seq if producer else 0, self.made, producer)
        self.all += [record] if producer else []
        return record

    def publish(self) -> list[bytes]:
        """The next message: header and payload."""
        producer = self.chance.choices([FEED, NOBODY, OTHER], [30, 2, 3 * self.shared])[0]
        first = len(self.live)
        self.live += [self.record(producer) for _ in range(self.chance.randint(1, 3))]
        return self.message(self.epoch, first, self.live[first:])

    def restart(self) -> None:
        """Begin another life; records made in between are stored, but not published."""
        if self.chance.random() < 0.2:  # after a power cut, seqs that were not durable are used again
            self.seq -= self.chance.randint(0, 5)
            self.all = [record for record in self.all if record.seq <= self.seq]
        for _ in range(self.chance.randint(0, 4)):
            self.record(FEED)
        self.epoch += self.chance.randint(1, 3)
        self.live, self.kept = [], 0

    def forget(self) -> None:
        """Drop the oldest records from memory."""
        self.kept = self.chance.randint(self.kept, len(self.live))

    def answer(self, request: Any) -> list[bytes]:
        """The answer to a request: head and frames."""
        return self._history(request) if isinstance(request, wire.GetHistory) else self._range(request)

    @staticmethod
    def message(epoch: int, first: int, part: list[Made]) -> list[bytes]:
        """Header and payload."""
        records = np.zeros(len(part), TICK)
        records["seq"], records["price"] = [made.seq for made in part], [made.price for made in part]
        header = wire.pack_header(1, 64, len(part), epoch, first, 7, 5, 2, 8, part[0].producer.encode())
        return [header, records.tobytes()]

    def _history(self, request: wire.GetHistory) -> list[bytes]:
        if self.chance.random() < 0.1:
            return [wire.encode(wire.Refused(1, "nothing is stored"))]
        last, resume = request.last_seq, request.last_seq + 1
        found = [made for made in self.all if made.producer == FEED and request.first_seq <= made.seq <= last]
        if found and self.chance.random() < 0.4:  # a bounded reply, or the store lacks something
            found = found[: self.chance.randint(1, len(found))]
            last = found[-1].seq
            resume = last + self.chance.choices([1, 2], [9, 1])[0]
        frames = self.message(0, 0, found) if found else []
        return [wire.encode(wire.History(1, TOPIC, FEED, last, resume, len(frames) // 2)), *frames]

    def _range(self, request: wire.GetRange) -> list[bytes]:
        if not self.live and self.chance.random() < 0.5:
            return [wire.encode(wire.Refused(1, "no such topic, or it has had no record yet"))]
        if request.epoch != self.epoch or request.first < self.kept:
            begin = next(((FEED, made.seq) for made in self.live if made.producer and not self.shared), ("", -1))
            oldest = self.kept if request.epoch != self.epoch else max(self.kept, request.first + 1)
            return [wire.encode(wire.Gone(1, self.epoch, TOPIC, oldest, len(self.live), *begin))]
        first = max(self.kept, request.first - self.chance.randint(0, 2))
        part = self.live[first : self.chance.randint(request.first, request.last) + 1]
        part = list(takewhile(lambda made: made.producer == part[0].producer, part))  # a message is of one
        frames = self.message(self.epoch, first, part)
        return [wire.encode(wire.Range(1, self.epoch, TOPIC, first, first + len(part) - 1, 1)), *frames]


class Told(NamedTuple):
    """A run of a follower."""

    inputs: list[list[Any]]  # what the follower is told, frames in hexadecimal
    given: list[list[Message]]  # and what it gives each time
    asked: list[Any]  # and asks; None: nothing
    lives: TopicLives
    joined: int | None  # how many were recorded when the follower heard how far the topic is, if it began so


def follow(seed: int, steps: int) -> Told:
    """A run of the follower in Python."""
    chance = random.Random(seed)
    lives = TopicLives(chance)
    follower = Follower(TOPIC, snapshot=False, recover=True)
    begins = chance.choice(("publish", "progress"))
    run = Told([], [], [], lives, len(lives.all) if begins == "progress" else None)
    request: Any = None  # under way
    for number in range(steps):
        step = chance.choices(list(STEPS), list(STEPS.values()))[0] if number else begins
        if step in ("restart", "forget", "drop"):
            _ = lives.publish() if step == "drop" else getattr(lives, step)()
            continue
        if step in ("answer", "timeout") and request is None:
            continue
        if step == "publish":
            head, payload = lives.publish()
            run.inputs.append(["message", head.hex(), payload.hex()])
            messages = follower.on_message(wire.unpack_header(head), payload)
        elif step == "progress":
            run.inputs.append(["progress", lives.epoch, len(lives.live)])
            messages = follower.on_progress(lives.epoch, wire.TopicInfo(TOPIC, 1, 5, 2, 8, len(lives.live)))
        elif step == "answer":
            reply, *frames = lives.answer(request)
            run.inputs.append(["reply", reply.hex(), *(frame.hex() for frame in frames)])
            messages, request = follower.on_reply(wire.decode_reply(reply), frames), None
        else:
            run.inputs.append(["timeout"])
            messages, request = follower.on_timeout(), None
        run.given.append(messages)
        run.asked.append(follower.take_request())
        request = run.asked[-1] or request
    return run
