"""The store over Arrow Flight, by pyarrow's own client: token, TLS, streaming, limits."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
import pytest
import trustme
from made_records import START_NS
from plant_process import DEADLINE_S, wait_for
from small_store import make_store

from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import TICK, Schema
from tickplant.store.flight import FlightServer
from tickplant.store.reader import INSTRUMENTS_FILE, Store
from tickplant.writer.journal import Journal

PAGE = (Path(__file__).parents[2] / "docs" / "reading.md").read_text()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def large_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose rows are more than what connections hold."""
    folder = tmp_path_factory.mktemp("large")
    ticks = np.zeros(1 << 19, TICK)
    ticks["instrument"], ticks["kind"] = InstrumentTable.load(folder / INSTRUMENTS_FILE).register("v", "A", 2, 2).id, 1
    ticks["seq"], ticks["ts_recv"] = np.arange(len(ticks)), START_NS + np.arange(len(ticks))
    journal = Journal(folder, Schema.TICK, "feed")
    journal.append(ticks)
    journal.flush()
    journal.close()
    return folder


@pytest.fixture
def server(data_dir: Path) -> Iterator[FlightServer]:
    with FlightServer(data_dir, "grpc://127.0.0.1:0", max_answers=2) as server:
        yield server


def client_of(server: FlightServer) -> Any:
    return fl.connect(f"grpc://127.0.0.1:{server.port}")


def test_a_ticket_is_answered_as_the_store_does(server: FlightServer, data_dir: Path) -> None:
    (ticket,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    with client_of(server) as client:
        found = client.do_get(fl.Ticket(ticket.encode())).read_all()
        info = client.get_flight_info(fl.FlightDescriptor.for_command(ticket.encode()))
        tables = [json.loads(flight.descriptor.command)["table"] for flight in client.list_flights()]
    expected = Store(data_dir).trades("venue", "AAA", "2023-11-14", columns=["ts_recv", "price"], where="price > 59000")
    assert found.equals(expected.arrow())
    assert info.schema.equals(expected.schema)
    assert found.num_rows > 50
    assert tables[:2] == ["ticks", "trades"]


@pytest.mark.parametrize(
    ("ticket", "words"),
    [
        (b"{", "not JSON (Input data was truncated); a ticket is a JSON object with any of table, venue"),
        (b'{"tabel": "ticks"}', "unknown field `tabel`; a ticket is a JSON object"),
        (b'{"venue": 5}', "at `$.venue`"),
        (b'{"table": "tick"}', "unknown table 'tick'; choose from ticks"),
        (b'{"symbol": "ZZZ"}', "no symbol 'ZZZ' is stored"),
        (b'{"where": "price >"}', "expected a value"),
        (b'{"start": "yesterday"}', "neither a time"),
        (b'{"columns": ["x"]}', "unknown column 'x'"),
        (b'{"where": "' + b"(" * 70_000 + b'"}', "at most 65536 bytes"),
    ],
)
def test_a_wrong_ticket_is_refused_with_the_reason(server: FlightServer, ticket: bytes, words: str) -> None:
    with client_of(server) as client, pytest.raises(fl.FlightError) as caught:
        client.do_get(fl.Ticket(ticket)).read_all()
    assert words in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_an_answer_that_damage_ends_says_so_in_a_sentence(tmp_path: Path) -> None:
    data_dir = make_store(tmp_path)
    (path,) = Store(data_dir).files("feed", Schema.TICK)
    data = bytearray(path.read_bytes())
    data[400] ^= 1
    path.write_bytes(data)
    with FlightServer(data_dir, "grpc://127.0.0.1:0", max_answers=1) as server, client_of(server) as client:
        for _ in range(2):  # and it gives its place back
            with pytest.raises(fl.FlightServerError) as caught:
                client.do_get(fl.Ticket(b"{}")).read_all()
            assert f"the answer ends early: {path}: at byte 0:" in str(caught.value)
            assert "Traceback" not in str(caught.value)
            assert "Python exception" not in str(caught.value)


def test_what_the_server_does_not_do_is_refused_in_a_sentence(server: FlightServer) -> None:
    path, command = fl.FlightDescriptor.for_path("x"), fl.FlightDescriptor.for_command(b'{"table": "bars"}')
    with client_of(server) as client:
        assert client.list_actions() == []
        assert "open" in client.get_schema(command).schema.names
        with pytest.raises(pa.ArrowException, match="^Unknown error: a question is a command"):
            client.get_schema(path)
        calls: list[tuple[Callable[[], object], str]] = [
            (lambda: client.get_flight_info(path), "a question is a command"),
            (lambda: list(client.do_action("drop")), "unknown action 'drop'"),
            (client.do_put(path, pa.schema([]))[0].close, "writing is not supported"),
            (client.do_exchange(path)[1].read_all, "exchange is not supported"),
        ]
        for call, words in calls:
            with pytest.raises(fl.FlightServerError, match=words) as caught:
                call()
            assert "Traceback" not in str(caught.value)


def test_an_answer_streams_and_too_many_are_refused(large_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickplant.store.rows.BATCH_ROWS", 1000)
    with FlightServer(large_dir, "grpc://127.0.0.1:0", max_answers=2) as server, client_of(server) as client:
        readers = [client.do_get(fl.Ticket(b"{}")) for _ in range(2)]
        counts = [reader.read_chunk().data.num_rows for reader in readers]
        assert 0 < max(counts) <= 1000
        with pytest.raises(fl.FlightUnavailableError, match="too many answers stream already; try again"):
            client.do_get(fl.Ticket(b"{}")).read_all()
        for count, reader in zip(counts, readers, strict=True):
            assert count + sum(part.data.num_rows for part in reader) == 1 << 19
        assert client.do_get(fl.Ticket(b"{}")).read_all().num_rows == 1 << 19


def test_without_the_token_nothing_is_answered_and_tls_is_checked(data_dir: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
    pair = chain, certificate.private_key_pem.bytes()
    with FlightServer(data_dir, "grpc+tls://127.0.0.1:0", token="secret", certificate=pair) as server:
        where = f"grpc+tls://localhost:{server.port}"
        with fl.connect(where, tls_root_certs=authority.cert_pem.bytes()) as client:
            for headers in ([], [(b"authorization", b"Bearer wrong")], [(b"authorization", b"secret")]):
                with pytest.raises(fl.FlightUnauthenticatedError, match="authorization must be"):
                    client.do_get(fl.Ticket(b"{}"), fl.FlightCallOptions(headers=headers)).read_all()
            options = fl.FlightCallOptions(headers=[(b"authorization", b"Bearer secret")])
            assert client.do_get(fl.Ticket(b'{"table": "bars"}'), options).read_all().num_rows == 100
        stranger = fl.connect(where, tls_root_certs=trustme.CA().cert_pem.bytes())
        with stranger, pytest.raises(fl.FlightError):
            stranger.do_get(fl.Ticket(b"{}"), options).read_all()


@contextlib.contextmanager
def untaken(client: Any) -> Iterator[Any]:
    """An answer of which no more than the first batch is taken, until the block ends.

    Then it is called off, or a server that cuts nobody off would wait for it without end.
    """
    reader = client.do_get(fl.Ticket(b"{}"))
    try:
        assert reader.read_chunk().data.num_rows
        yield reader
    finally:
        reader.cancel()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_client_that_takes_nothing_is_cut_off_and_others_are_not(large_dir: Path, host: str) -> None:
    where = f"grpc://{host}:0"
    with FlightServer(large_dir, where, max_answers=2, idle_s=4.0) as server:
        address = f"grpc://{host}:{server.port}"
        with fl.connect(address) as idle, fl.connect(address) as other, untaken(idle) as stalled:
            for _ in range(3):  # whoever takes what it asked for is left alone
                assert other.do_get(fl.Ticket(b"{}")).read_all().num_rows == 1 << 19
            wait_for("the client to be cut off", lambda: server.answers.cut_off)
            with pytest.raises(fl.FlightError):
                stalled.read_all()
            assert other.do_get(fl.Ticket(b"{}")).read_all().num_rows == 1 << 19
            assert server.answers.cut_off == 1
            wait_for("its place to be free again", lambda: not server.answers.count)


def test_a_server_ends_though_a_client_takes_nothing(large_dir: Path) -> None:
    with (
        FlightServer(large_dir, "grpc://127.0.0.1:0") as server,
        client_of(server) as client,
        untaken(client) as stalled,
    ):
        ended = threading.Thread(target=server.shutdown, daemon=True)
        ended.start()
        ended.join(DEADLINE_S)
        assert not ended.is_alive()
        with pytest.raises(fl.FlightError):
            stalled.read_all()
