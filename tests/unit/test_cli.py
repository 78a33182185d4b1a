"""Whatever is asked of a command: done, or one sentence and the right exit code, never a traceback."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
from cli_store import HOSTILE_SYMBOL, make_cli_store
from made_records import make_ticks

from tickplant import cli
from tickplant.records.layouts import Schema
from tickplant.writer.index import load_index
from tickplant.writer.journal import journal_dir, journal_files


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cli_store(tmp_path_factory.mktemp("cli") / "data")


@pytest.fixture
def damaged(data: Path, tmp_path: Path) -> Path:
    """The same, with its fourth chunk damaged: seq 300 to 399."""
    subprocess.run(["cp", "-r", data, tmp_path / "damaged"], check=True)
    (path,) = journal_files(journal_dir(tmp_path / "damaged", "feed", Schema.TICK))
    broken = bytearray(path.read_bytes())
    broken[int(load_index(path).entries[3]["offset"]) + 400] ^= 0xFF
    path.write_bytes(broken)
    return tmp_path / "damaged"


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command, without a process of its own."""
    code = cli.run([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def is_fit(text: str) -> bool:
    """Whether nothing in it would do anything to a terminal."""
    return all(letter == "\n" or letter.isprintable() for letter in text)


LONG = "x" * 300
VALUES = ["", " ", "-", ".", "..", "*", LONG, "nan", "inf", "-inf", "-1", "0", "1e999", "9" * 40, "²", "٣", "a\0b"]
VALUES += ["\udcff", HOSTILE_SYMBOL, "/", "/dev/null", "/dev/full", "日本", "[[", "tcp://[::1", "%s"]

OPTIONS = {
    "query": ["--config", "--data", "--kind", "--schema", "--start", "--end", "--clock", "-o"],
    "verify": ["--config", "--data"],
    "book": ["--config", "--data", "--at", "--depth", "--orders", "--crossed"],
    "tail": ["--config", "--address", "--count", "--timeout"],
    "status": ["--config", "--data"],
    "stop": ["--config", "--data"],
    "restart": ["--config", "--data"],
    "resync": ["--config", "--data"],
    "sim": ["--venue", "--port", "--speed", "--seed", "--rate"],
    "ingest": ["--venue", "--data", "--crossed", "--again"],
    "conflate": ["--publish", "--every", "--limit"],
    "up": ["--config"],
}
ARGUMENTS = {"query": 2, "book": 2, "conflate": 1, "restart": 1, "resync": 2, "ingest": 1}
NEEDED = {
    "tail": ["--timeout", "0.01", "--address", "inproc://nobody"],
    "ingest": ["--venue", "binance"],
    "conflate": ["--publish", "ipc:///nowhere"],
}


@pytest.mark.parametrize("command", OPTIONS)
def test_any_value_of_any_option_ends_in_a_sentence(
    command: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where nothing can be reached by mistake: no configuration, no store
    (tmp_path / "plant.toml").write_text('[feeds.a]\nvenue = "nobody"\nsymbols = ["A"]\n[engines.e]\npublish = "no"\n')
    file = str(tmp_path / "plant.toml")
    for option in OPTIONS[command]:
        for value in VALUES:
            words = [command, *["AAA"] * ARGUMENTS.get(command, 0), *NEEDED.get(command, [])]
            if command == "up":
                words += ["--plain"]
            elif command == "sim":
                words += ["--venue", "nobody"]  # refused: a simulated venue would run
            elif "--data" in OPTIONS[command] and option not in ("--data", "--config"):
                words += ["--data", str(data)]
            elif option != "--config" and "--config" in OPTIONS[command]:
                words += ["--config", file]
            code, _, err = run(capsys, *words, option, value)
            told = f"{command} {option} {value!r}: {code} {err}"
            assert code in (0, 1, 2), told
            assert "Traceback" not in err and "a bug in tickplant" not in err, told
            assert is_fit(err), told
            assert code == 0 or err.strip(), told


@pytest.mark.parametrize("value", VALUES)
def test_any_argument_ends_in_a_sentence(
    value: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = [
        ["query", value, "AAA", "--data", data],
        ["query", "venue", value, "--data", data],
        ["book", "venue", value, "--data", data],
        ["book", value, "AAA", "--data", data],
        ["restart", value, "--data", data],
        ["resync", value, value, "--data", data],
        ["config", "check", value],
        ["config", value],
        ["ingest", value, "--venue", "binance", "--data", tmp_path / "new"],
        ["sim", value or "x", "--venue", "binance"],
        [value],
        ["tail", value, "--timeout", "0.01", "--address", "inproc://nobody"],
    ]
    for words in commands:
        if words[0] == value and not value:
            continue
        code, _, err = run(capsys, *words)
        told = f"{words}: {code} {err}"
        assert code in (0, 1, 2), told
        assert "Traceback" not in err and "a bug in tickplant" not in err, told
        assert is_fit(err), told


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"a=" + b"[" * 100_000, "nested too deeply"),
        (b"a=" + b"{a=" * 50_000, "nested too deeply"),
        (b"a=" + b"9" * 10_000, "not valid TOML"),
        (b"\xff", "not UTF-8"),
        (b"#" * (2 << 20), "longer than 1 MiB"),
        (b"plant = 99999999999999999999999", "must be a table"),
        (b"[plant]\nheartbeat_s = 99999999999999999999999", "plant"),
        (b'[plant]\ndata = "a\\u0000b"\n[feeds.a]\nvenue = "binance"\nsymbols = ["A"]', "NUL|data"),
        (b'[feeds.a]\nvenue = "binance"\nsymbols = ["A"]\nws_url = "ws://[::1"', "ws_url"),
        (
            b'[feeds.a]\nvenue = "binance"\nsymbols = ["A"]\n[engines.e]\npublish = "tcp://127.0.0.1:\xc2\xb2"',
            "publish",
        ),
    ],
    ids=["deep", "tables", "digits", "utf-8", "huge", "integer", "heartbeat", "nul", "ipv6", "port"],
)
def test_a_configuration_that_is_none_is_refused_by_name(
    text: bytes, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    (tmp_path / "plant.toml").write_bytes(text)
    code, _, err = run(capsys, "config", "check", tmp_path / "plant.toml")
    assert code in (1, 2)
    assert re.search(why, err), err
    assert "fault of tickplant" not in err


def test_every_table_of_a_configuration_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plant.toml"
    path.write_text(
        Path("supervisor.toml").read_text() + "[retention.all]\nkeep_days = 30\n[store]\nopen_days = true\n"
    )
    _, out, _ = run(capsys, "config", "check", path, "--json")
    named = {
        f"{section}.{name}" if section in ("feeds", "engines", "writers", "gateways", "retention", "sims") else section
        for section, table in tomllib.loads(path.read_text()).items()
        for name in table
    }
    assert named <= set(json.loads(out))


@pytest.mark.parametrize("command", ["query venue AAA", "export out", "sql SELECT", "verify", "status", "replay"])
def test_a_configuration_that_is_named_is_read_whatever_else_is_given(
    command: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.toml"
    code, _, err = run(capsys, *command.split(), "--data", data, "-c", missing)
    assert (code, err) == (2, f"tickplant: {missing}: cannot be read: No such file or directory\n")


def test_a_wait_for_an_engine_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickplant.cli.output.QUIET_S", 0.01)
    code, _, err = run(capsys, "tail", "--address", "tcp://127.0.0.1:9", "--timeout", "0.5")
    assert code == 1
    assert err.startswith("tcp://127.0.0.1:9: waiting for the engine's answer\ntickplant: tcp://127.0.0.1:9: no engine")


def test_a_range_that_ends_before_it_begins_is_wrong_usage(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["query", "venue", "AAA"], ["replay"]):
        code, out, err = run(capsys, *command, "--data", data, "--start", "2024-01-02", "--end", "2024-01-01")
        assert (code, out) == (2, "")
        assert "is after --end 2024-01-01T00:00:00" in err


def test_a_replay_of_nothing_or_to_nowhere_does_not_begin(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, code, why in (
        (["--publish", "volume-0"], 2, "--publish 'volume-0' is not an address: use tcp://"),
        (["--bind", "tcp://0.0.0.0:5"], 2, "other machines can reach that address"),
        (["--symbol", "AAB"], 1, f"{data}: does not hold AAB"),
    ):
        got, out, err = run(capsys, "replay", "--data", data, *words)
        assert (got, out) == (code, "")
        assert why in err
        assert "replay at" not in err


@pytest.mark.parametrize("head", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_a_configuration_from_another_system_is_read(
    head: bytes, end: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [b"[feeds.a]", b'venue = "binance"', b'symbols = ["BTCUSDT"]', b"[engines.e]", b"[writers.w]", b""]
    (tmp_path / "plant.toml").write_bytes(head + end.join(lines))
    code, out, err = run(capsys, "config", "check", tmp_path / "plant.toml")
    assert (code, err) == (0, "")
    assert out.startswith(f"{tmp_path / 'plant.toml'}: ok")


@pytest.mark.parametrize("address", ["localhost:5555", "tcp://127.0.0.1:99999", "tcp://[::1", "tcp://127.0.0.1", "x"])
def test_an_address_that_is_none_is_named_as_it_was_given(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = f"tickplant: {address!r} is not an address such as tcp://127.0.0.1:5555\n"
    assert run(capsys, "tail", "--address", address) == (1, "", said)
    assert run(capsys, "book", "binance", "BTCUSDT", "--address", address) == (1, "", said)


def test_a_command_that_is_none_is_answered_with_the_nearest_and_none_with_the_list(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, err = run(capsys, "querry")
    assert code == 2 and err.endswith("Error: no such command: querry; did you mean query?\n")
    code, _, err = run(capsys, "frobnicate")
    assert code == 2 and err.endswith("Error: no such command: frobnicate; see tickplant --help\n")
    for group in ([], ["config"], ["symbols"]):
        code, _, err = run(capsys, *group)
        assert code == 2 and err.startswith("Usage: ") and "Commands:" in err and "Error" not in err


@pytest.mark.parametrize(
    ("venue", "symbol"), [("", "A"), ("v", ""), ("v", "x" * 200), ("v", "A\x1b[31m"), ("\u202e", "A")]
)
def test_an_import_under_a_name_that_cannot_be_is_refused(
    venue: str, symbol: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("timestamp,price,amount\n1700000000000000,1,1\n")
    maps = [word for pair in ("price=price", "size=amount", "ts_event=timestamp") for word in ("--map", pair)]
    words = ["import", tmp_path / "t.csv", "--data", tmp_path / "data", *maps, "--time-unit", "us"]
    code, _, err = run(capsys, *words, "--venue", venue, "--symbol", symbol)
    assert code == 1
    assert err.startswith(f"tickplant: {tmp_path / 't.csv'}: cannot be stored: ") and "printable bytes" in err
    assert is_fit(err)
    code, _, err = run(capsys, *words, "--venue", "v", "--symbol", "A", "--map", "price=amount")
    assert code == 2 and err.endswith("Error: --map price is given twice\n")
    assert run(capsys, *words, "--venue", "v", "--symbol", "A", "--map", "ts_recv=timestamp")[0] == 0


def test_a_file_whose_suffix_names_no_format_is_wrong_usage(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["query", "venue", "AAA"], ["sql", "select 1"], ["derive", "rsi"], ["features", "x"]):
        code, out, err = run(capsys, *command, "--data", data, "-o", "out.xlsx")
        assert (code, out) == (2, "")
        assert "'out.xlsx' has no known suffix; choose from .parquet" in err


def test_a_book_of_before_the_first_record_is_said_to_be_missing(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "book", "venue", "AAA", "--data", data, "--at", "1970-01-01")
    assert (code, out) == (0, "")
    assert err == "venue AAA: the store has no complete book at 1970-01-01T00:00:00.000000000Z\n"


def test_a_query_that_finds_nothing_says_so(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "query", "venue", "AAA", "--data", data, "--kind", "gap")
    assert (code, len(out.splitlines())) == (0, 1)
    assert err == "no stored record of venue AAA matches\n"


def test_what_is_no_store_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for folder, why in ((tmp_path, "is not a tickplant store"), (tmp_path / "file", "is not a directory")):
        for command in (["verify"], ["query", "venue", "AAA"], ["book", "venue", "AAA"], ["replay"]):
            code, _, err = run(capsys, *command, "--data", folder)
            assert code == 1
            assert err.startswith(f"tickplant: {folder}: {why}")


def test_damage_ends_a_command_or_is_left_out_by_name(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = ["query", "venue", "AAA", "--data", damaged]
    code, out, err = run(capsys, *query)
    assert code == 1
    assert "records 300 to 399 are missing; --skip-damage leaves it out" in err
    code, out, err = run(capsys, *query, "--json", "--skip-damage")
    assert code == 0
    (line,) = err.splitlines()
    assert line.startswith(f"left out: {damaged}/journal/feed/tick/")
    assert line.endswith("; seq 300 to 399")
    seqs = np.array([json.loads(row)["seq"] for row in out.splitlines()])
    assert len(seqs) > 300
    assert not ((seqs >= 300) & (seqs < 400)).any()

    code, out, err = run(capsys, *query, "-o", damaged / "out.csv", "--skip-damage")
    assert (code, len((damaged / "out.csv").read_text().splitlines())) == (0, 1 + len(seqs))

    before = make_ticks(900, instruments=2)["ts_recv"]
    for seq, stale in ((299, False), (500, True), (899, False)):
        book = ["book", "venue", "AAA", "--data", damaged, "--json", "--at", str(before[seq])]
        code, out, err = run(capsys, *book, "--skip-damage")
        assert (code, json.loads(out)["stale"]) == (0, stale)
        assert err.count("left out") == int(stale)
        code, out, err = run(capsys, *book)
        assert code == int(stale)
        assert ("--skip-damage leaves it out" in err) == stale


def test_what_others_wrote_is_escaped_and_json_means_the_same(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "book", "venue", HOSTILE_SYMBOL, "--data", data)
    assert code == 0 and is_fit(out)
    code, out, _ = run(capsys, "book", "venue", HOSTILE_SYMBOL, "--data", data, "--json")
    assert code == 0 and is_fit(out)
    assert json.loads(out)["symbol"] == HOSTILE_SYMBOL
    code, _, err = run(capsys, "query", "venue", "nothing", "--data", data)
    assert code == 1 and "venue A\\x1b[31m\\x9b\\u202eB" in err and is_fit(err)


def test_an_error_nobody_foresaw_is_a_sentence_too(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tickplant.store.reader import Store

    for error, words in (
        (KeyError("\x1b"), "a bug in tickplant, KeyError"),
        (MemoryError(), "not enough memory"),
        (OSError(24, "Too many open files"), "ulimit -n"),
        (PermissionError(13, "Permission denied", b"/some/\xff"), "/some/\\udcff: Permission denied"),
        (BrokenPipeError(32, "Broken pipe"), ""),
    ):

        def fail(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(Store, "rows", fail)
        code, _, err = run(capsys, "query", "venue", "AAA", "--data", data)
        assert code == (0 if isinstance(error, BrokenPipeError) else 1)
        assert words in err and is_fit(err) and len(err.splitlines()) <= 1


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("max_conections=5", "relay.max_conections: is not a known key; did you mean max_connections?"),
        ("publish=5", "relay.publish: is not a known key; known here: max_connections, "),
        ("max_connections=10001", "relay.max_connections: a whole number of at most 10000 is expected"),
        ("unread_s=nan", "relay.unread_s: a finite number is expected"),
        ("unread_s", "'unread_s' is not a name and a number, such as max_connections=500"),
    ],
)
def test_a_limit_of_a_relay_is_that_of_an_engine_or_refused(
    limit: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "conflate", "venue.AAA.bbo", "--publish", "ipc:///nowhere", "--limit", limit)
    assert code == 2 and words in err
