"""Credentials by name: where their file lies, who may read it, and that no error shows what is in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tickplant.errors import ConfigError
from tickplant.runtime import credentials, redaction

VALUE = "h8Zq-not-to-be-seen-31"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    folder = tmp_path / "tickplant" / "credentials"
    folder.mkdir(parents=True)
    return folder


def write(folder: Path, text: str = f'key = "{VALUE}"\nsecret = "{VALUE}2"\n', mode: int = 0o600) -> Path:
    path = folder / "venue"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_credential_is_read_and_masked_from_then_on(own: Path) -> None:
    write(own)
    assert credentials.load("venue") == {"key": VALUE, "secret": f"{VALUE}2"}
    assert redaction.redact(f"the venue answered: {VALUE}2 is unknown") == "the venue answered: *** is unknown"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620, 0o602])
def test_a_file_that_others_may_read_or_change_is_refused(own: Path, mode: int) -> None:
    path = write(own, mode=mode)
    with pytest.raises(ConfigError, match=f"{path}: may be read or changed by others: run chmod 600"):
        credentials.load("venue")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"key: {VALUE}", "is not TOML"),
        (f'key = "{VALUE}', "is not TOML"),
        (f'[venue]\nkey = "{VALUE}"', "venue: must be a text, in quotes"),
        ("key = 1234567", "key: must be a text, in quotes"),
        ('key = ""', "key: must be a text, in quotes"),
        ("# nothing", "is empty"),
    ],
)
def test_a_file_in_another_form_is_refused_without_a_word_of_it(own: Path, text: str, told: str) -> None:
    path = write(own, text)
    with pytest.raises(ConfigError) as caught:
        credentials.load("venue")
    assert told in str(caught.value) and str(path) in str(caught.value)
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize("name", ["", "../venue", "a/b", ".hidden", "a\n", "x" * 65])
def test_a_name_cannot_leave_the_folder(own: Path, name: str) -> None:
    write(own.parent)
    with pytest.raises(ConfigError, match="is not the name of a credential"):
        credentials.find(name)


def test_a_missing_credential_says_where_to_write_it(own: Path) -> None:
    with pytest.raises(ConfigError, match=f"write it to {own}/venue, mode 600"):
        credentials.find("venue")


def test_a_folder_is_not_a_credential(own: Path) -> None:
    (own / "venue").mkdir()
    with pytest.raises(ConfigError, match="must be a file"):
        credentials.find("venue")


def test_the_environment_comes_first_and_shows_nothing_afterwards(own: Path) -> None:
    write(own)
    program = """
import os, pathlib, subprocess, sys
from tickplant.runtime import credentials, redaction
credentials.check("my-venue")
credentials.take_environment()
credentials.check("my-venue")
credentials.check("venue")
assert credentials.from_environment("my-venue") == {"key": os.environ["KEY"], "the_other": "second-value"}
assert credentials.from_environment("venue") == {}
assert redaction.redact("second-value") == "***"
shown = pathlib.Path("/proc/self/environ").read_bytes()
assert b"TICKPLANT_SECRET_MY_VENUE__KEY=" in shown and b"second-value" not in shown
assert shown.count(os.environ["KEY"].encode()) == 1, shown
assert pathlib.Path("/proc/self/coredump_filter").read_text().strip("0\\n") == ""
child = subprocess.run([sys.executable, "-c", "import os; print(*os.environ)"], capture_output=True, check=True)
assert b"TICKPLANT_SECRET" not in child.stdout
"""
    given = {"TICKPLANT_SECRET_MY_VENUE__KEY": VALUE, "TICKPLANT_SECRET_MY_VENUE__THE_OTHER": "second-value"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | given | {"KEY": VALUE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_the_service_manager_passes_comes_first(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(own)
    passed = tmp_path / "passed"
    passed.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(passed))
    assert credentials.find("venue") == own / "venue"
    write(passed, mode=0o440)  # as with an access list
    assert credentials.find("venue") == passed / "venue"
    write(passed, mode=0o444)
    with pytest.raises(ConfigError, match="chmod 600"):
        credentials.find("venue")
