"""Whatever is missed, killed, cut off and refused: what a follower gives, in Python and in JavaScript."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from topic_lives import TOPIC, Made, Told, follow

from tickplant import wire
from tickplant.client.topic_message import Message

CLIENT = Path(__file__).parents[2] / "clients" / "node"
SEEDS = range(120)
STEPS = 60

SCRIPT = """
    import { readFileSync } from "node:fs";
    import { Follower } from "FOLLOWER";
    import { readHeader, readReply } from "WIRE";
    const bytes = (text) => Buffer.from(text, "hex");
    for (const run of JSON.parse(readFileSync(0, "utf8"))) {
      let given = [];
      const follower = new Follower("TOPIC", (kind, epoch, seq, producer, rows, lost) =>
        given.push([kind, epoch, seq, producer, kind === "lost" ? lost : rows.map((row) => Number(row.price))]));
      const out = run.map(([what, ...told]) => {
        given = [];
        try {
          if (what === "message") follower.onMessage(readHeader(bytes(told[0])), bytes(told[1]));
          if (what === "progress") follower.onProgress(...told);
          if (what === "reply") follower.onReply(readReply(bytes(told[0])), told.slice(1).map(bytes));
          if (what === "timeout") follower.onTimeout();
        } catch (error) { return error.stack; }
        return [given, follower.takeRequest()];
      });
      console.log(JSON.stringify(out));
    }
"""


@pytest.fixture(scope="module")
def runs() -> list[Told]:
    return [follow(seed, STEPS) for seed in SEEDS]


def test_every_record_is_given_once_and_in_order_or_a_loss_is_said_where_it_would_stand(runs: list[Told]) -> None:
    for seed, run in enumerate(runs):
        places = {made: place for place, made in enumerate(run.lives.all)}
        # Place of the record that was given last, or stands before where it joined; None where a loss was said since.
        before = None if run.joined is None else run.joined - 1
        seen: set[Made] = set()
        for message in (message for messages in run.given for message in messages):
            if message.kind == "lost":
                before = None
                continue
            if not message.producer:
                continue  # made for subscribers alone
            for seq, price in message.records[["seq", "price"]].tolist():
                made = Made(seq, price, message.producer)
                assert made not in seen, seed
                seen.add(made)
                place = places.get(made)
                if place is None:
                    continue  # a power cut took it from the store, after it was published
                assert before is None or place == before + 1, (seed, run.lives.all[before : place + 1])
                before = place


def plain(message: Message) -> list[Any]:
    what = message.lost if message.kind == "lost" else message.records["price"].tolist()
    return [message.kind, message.epoch, message.first_seq, message.producer, what]


def wanted(request: Any) -> dict[str, Any] | None:
    told = json.loads(wire.encode(request)) if request else None
    return told and {key: value for key, value in told.items() if key not in ("id", "version")}


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_follower_in_javascript_gives_and_asks_the_same(runs: list[Told]) -> None:
    script = SCRIPT.replace("FOLLOWER", (CLIENT / "follower.mjs").as_uri()).replace("TOPIC", TOPIC)
    command = ["node", "--input-type=module", "-e", script.replace("WIRE", (CLIENT / "wire.mjs").as_uri())]
    told = json.dumps([run.inputs for run in runs])
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    for seed, (line, run) in enumerate(zip(done.stdout.splitlines(), runs, strict=True)):
        for step, (found, messages, request) in enumerate(zip(json.loads(line), run.given, run.asked, strict=True)):
            assert found == [[plain(message) for message in messages], wanted(request)], (seed, step)


def test_all_that_can_happen_happens_here(runs: list[Told]) -> None:
    kinds = {message.kind for run in runs for messages in run.given for message in messages}
    asked = {type(request) for run in runs for request in run.asked if request}
    told = {given[0] for run in runs for given in run.inputs}
    assert (kinds, asked) == ({"live", "recovered", "lost"}, {wire.GetRange, wire.GetHistory})
    assert told == {"message", "progress", "reply", "timeout"}
    recovered = [m for run in runs for messages in run.given for m in messages if m.kind == "recovered"]
    assert sum(not message.publish_ns for message in recovered) > 50, "from the store"
    firsts = {(run.joined is None, next((m.kind for messages in run.given for m in messages), "")) for run in runs}
    assert firsts >= {(True, "live"), (False, "live"), (False, "recovered"), (False, "lost")}
