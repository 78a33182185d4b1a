"""What the history service says of a topic: exactly what is stored, and where something is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_days import MIDNIGHT_NS, make_day_records, parts_of, register, write_journal

from tickplant import wire
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import DTYPES, TICK, Kind, Schema
from tickplant.runtime.config import RetentionConfig
from tickplant.store import span_writer, topic_history
from tickplant.store.compaction import Compaction, Policy
from tickplant.store.daily_files import DAY_NS
from tickplant.store.recent_chunks import RecentChunks
from tickplant.store.topic_history import TopicHistory
from tickplant.writer.format.codec import ChunkDecoder
from tickplant.writer.index import Damage
from tickplant.writer.journal import Journal, journal_dir

TOPIC = "venue.X.trade"


@pytest.fixture(autouse=True)
def _time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a machine that compiles kernels meanwhile."""
    monkeypatch.setattr(topic_history, "READ_S", 600.0)


def trades(count: int = 1000) -> np.ndarray:
    made = np.zeros(count, TICK)
    made["kind"], made["instrument"], made["seq"] = Kind.TRADE, 1, np.arange(count)
    made["price"] = np.arange(count)
    return made


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Trades in chunks of 100, ten files of one chunk each."""
    InstrumentTable.load(tmp_path / "instruments.jsonl").register("venue", "X", 2, 8)
    journal = Journal(tmp_path, Schema.TICK, "feed", rotate_bytes=1)
    for part in np.split(trades(), 10):
        journal.append(part)
        journal.flush()
    journal.close()
    return tmp_path


def files(data_dir: Path) -> list[Path]:
    return sorted(journal_dir(data_dir, "feed", Schema.TICK).glob("*.tpj"))


def asked(history: TopicHistory, first: int, last: int, *, topic: str = TOPIC) -> tuple[wire.History, np.ndarray]:
    head, *frames = history.history(wire.GetHistory(topic, "feed", first, last, 3))
    reply = wire.decode_reply(head)
    assert isinstance(reply, wire.History), reply
    assert (reply.id, reply.topic, reply.producer, reply.messages) == (3, topic, "feed", len(frames) // 2)
    count = 0
    for header, payload in zip(frames[::2], frames[1::2], strict=True):
        fields = wire.unpack_header(header)
        assert (fields.epoch, fields.publish_ns, fields.first_seq, fields.producer) == (0, 0, count, "feed")
        assert fields.records <= wire.MESSAGE_RECORDS
        assert len(payload) == fields.records * fields.record_bytes
        count += fields.records
    return reply, np.frombuffer(b"".join(frames[1::2]), DTYPES[Schema.TICK])


def ends(reply: wire.History, records: np.ndarray) -> tuple[int, int, list[int]]:
    seqs = records["seq"].tolist()
    assert seqs == list(range(seqs[0], seqs[-1] + 1)) if seqs else True
    return reply.last_seq, reply.resume_seq, seqs[:1] + seqs[-1:]


def test_what_is_stored_is_given_whole(data_dir: Path) -> None:
    history = TopicHistory(data_dir)
    assert ends(*asked(history, 0, 999)) == (999, 1000, [0, 999])
    assert ends(*asked(history, 150, 250)) == (250, 251, [150, 250])
    assert asked(history, 150, 250)[1].tobytes() == trades()[150:251].tobytes()
    assert ends(*asked(history, 150, 250, topic="venue.X.quote")) == (250, 251, [])


def test_a_reply_is_bounded_and_says_where_to_go_on(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_history, "REPLY_BYTES", 130 * 64)
    history = TopicHistory(data_dir)
    assert ends(*asked(history, 20, 999)) == (149, 150, [20, 149])
    monkeypatch.setattr(topic_history, "READ_S", -1.0)
    assert ends(*asked(history, 20, 999)) == (99, 100, [20, 99]), "a long reading ends at a chunk"


def test_what_is_not_stored_yet_is_asked_for_again(data_dir: Path) -> None:
    history = TopicHistory(data_dir)
    assert ends(*asked(history, 900, 2000)) == (999, 1000, [900, 999])
    assert ends(*asked(history, 1000, 2000)) == (999, 1000, [])


def test_a_file_that_is_missing_is_said(data_dir: Path) -> None:
    files(data_dir)[3].unlink()
    files(data_dir)[0].unlink()
    history = TopicHistory(data_dir)
    assert ends(*asked(history, 10, 999)) == (9, 100, [])
    assert ends(*asked(history, 150, 999)) == (299, 400, [150, 299])
    assert ends(*asked(history, 350, 380)) == (349, 400, []), "nothing of this is there"


def test_damage_ends_an_answer_and_is_told(data_dir: Path) -> None:
    path = files(data_dir)[4]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    told: list[Damage] = []
    history = TopicHistory(data_dir, on_damage=told.append)
    assert ends(*asked(history, 150, 999)) == (399, 500, [150, 399])
    assert ends(*asked(history, 500, 999)) == (999, 1000, [500, 999])
    assert ends(*asked(history, 450, 999)) == (449, 500, [])
    assert len(told) == 2


def test_daily_files_answer_like_the_journal_unless_something_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_writer, "STRIPE_ROWS", 15)
    ticks = make_day_records(Schema.TICK, MIDNIGHT_NS + np.arange(160) * (DAY_NS // 40), instruments=4)
    register(tmp_path)
    write_journal(tmp_path, "feed", Schema.TICK, parts_of(ticks, range(0, 160, 20)))
    row = next(row for row in InstrumentTable.load(tmp_path / "instruments.jsonl") if row.id == 2)
    topic = f"{row.venue}.{row.symbol}.book"
    history = TopicHistory(tmp_path)
    before = asked(history, 0, 159, topic=topic)
    assert len(before[1])
    assert not Compaction(tmp_path, Policy()).run().trouble
    after = asked(history, 0, 159, topic=topic)
    assert after[0].last_seq == before[0].last_seq == 159
    assert after[1].tobytes() == before[1].tobytes()
    now_ns = MIDNIGHT_NS + 4 * DAY_NS + 2 * 3600 * 10**9
    rule = RetentionConfig(keep_days=2)
    assert not Compaction(tmp_path, Policy(retention=[rule]), now_ns=lambda: now_ns).run().trouble
    reply, records = asked(history, 10, 159, topic=topic)
    assert (reply.last_seq, len(records)) == (9, 0)
    assert 40 <= reply.resume_seq < 159
    again, records = asked(history, reply.resume_seq, 159, topic=topic)
    while again.resume_seq <= 159 and not len(records):
        again, records = asked(history, again.resume_seq, 159, topic=topic)
    assert (again.last_seq, records.tobytes()) == (159, before[1][before[1]["seq"] >= records["seq"][0]].tobytes())


def test_a_chunk_that_many_topics_ask_for_is_decoded_once_and_memory_is_bounded(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    decode = ChunkDecoder.decode

    def counted(*args: Any, **named: Any) -> Any:
        decoded.append(named["origin"])
        return decode(*args, **named)

    monkeypatch.setattr(ChunkDecoder, "decode", counted)
    history = TopicHistory(data_dir)
    for _ in range(3):
        assert ends(*asked(history, 150, 480)) == (480, 481, [150, 480])
        assert asked(history, 150, 480)[1].tobytes() == trades()[150:481].tobytes()
    assert len(decoded) == 4
    monkeypatch.setattr(history, "_chunks", RecentChunks(2 * 100 * TICK.itemsize))
    decoded.clear()
    for first in (100, 200, 100, 300, 100, 200):  # the one that was asked for least lately goes
        assert ends(*asked(history, first, first + 99)) == (first + 99, first + 100, [first, first + 99])
    assert len(decoded) == 4
    InstrumentTable.load(data_dir / "instruments.jsonl").register("venue", "Y", 2, 8)
    assert ends(*asked(history, 0, 999, topic="venue.Y.trade")) == (999, 1000, []), "a symbol that came meanwhile"


@pytest.mark.parametrize(
    ("question", "why"),
    [
        (wire.GetHistory("venue.Y.trade", "feed", 0, 9), "the store has no records of venue.Y.trade"),
        (wire.GetHistory(TOPIC, "other", 0, 9), "by 'other'"),
        (wire.GetHistory(TOPIC, "../feed", 0, 9), "by '../feed'"),
        (wire.GetHistory("venue.X.nothing", "feed", 0, 9), "'nothing' is not a channel"),
        (wire.GetHistory("venue", "feed", 0, 9), "is not a topic"),
        (wire.GetHistory(TOPIC, "feed", 9, 0), "is not a range of seqs"),
        (wire.GetHistory(TOPIC, "feed", -1, 0), "is not a range of seqs"),
        (wire.GetHistory(TOPIC, "feed", 0, 2**63), "is not a range of seqs"),
    ],
)
def test_a_question_that_has_no_answer_is_refused_with_the_reason(
    data_dir: Path, question: wire.GetHistory, why: str
) -> None:
    head, *frames = TopicHistory(data_dir).history(question)
    reply = wire.decode_reply(head)
    assert isinstance(reply, wire.Refused)
    assert why in reply.reason
    assert not frames
