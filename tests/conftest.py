"""What holds for every test: it leaves nothing behind, and what it killed does not spoil the coverage of all others."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from compile_kernels import compile_kernels
from hypothesis import HealthCheck, settings
from plant_process import wait_for
from remains import NOTHING, Remains, Watch

# A shell has its background jobs ignore Ctrl-C, and all that they start would; what tests start is to hear of it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine takes its time over an example and what makes it, which is no fault of what is tested.
settings.register_profile("tickplant", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tickplant")


def pytest_addoption(parser: pytest.Parser) -> None:
    """For `make test`, which tests kernels as released and as plain Python; `make long` draws all examples."""
    parser.addoption("--share", type=int, default=1, help="draw one of so many examples of tests of kernels")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fewer examples of tests of kernels where a share of them is asked for."""
    share: int = config.getoption("--share")
    kernels = [item for item in items if share > 1 and item.get_closest_marker("kernels")]
    for test in {getattr(item, "obj", None) for item in kernels}:
        drawn = getattr(test, "_hypothesis_internal_use_settings", None)
        if drawn is not None:
            test._hypothesis_internal_use_settings = settings(drawn, max_examples=max(drawn.max_examples // share, 5))


@pytest.hookimpl(tryfirst=True)  # before the processes that run the tests are started
def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile once for all of them."""
    if getattr(session.config.option, "numprocesses", None):
        compile_kernels()


@pytest.fixture(scope="session", autouse=True)
def runtime_dir() -> Iterator[Path]:
    """A folder for run folders, of this test process alone: inherited by all that it starts, and its mark."""
    folder = Path(tempfile.mkdtemp(prefix="tp-"))  # a socket path must be short
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    yield folder
    os.environ.pop("XDG_RUNTIME_DIR")
    if before is not None:
        os.environ["XDG_RUNTIME_DIR"] = before
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def watch(runtime_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Watch:
    """Over all plants of this test process."""
    return Watch(runtime_dir, tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module", autouse=True)
def module_leaves_nothing(watch: Watch) -> Iterator[None]:
    """What has come to be since the module began is gone at its end."""
    before = watch.now()
    yield
    expect_nothing(lambda: watch.since(before))


@pytest.fixture
def left_behind(watch: Watch) -> Iterator[Callable[[], Remains]]:
    """What has come to be since the test began and is still there; at its end that must be nothing.

    For every test in tests/process and tests/recordings. Elsewhere there are no processes, and a look at all those of
    the machine takes longer than most tests: `module_leaves_nothing` does there.
    """
    before = watch.now()

    def now() -> Remains:
        return watch.since(before)

    yield now
    expect_nothing(now)


def expect_nothing(now: Callable[[], Remains]) -> None:
    """Assert that nothing is left, after the last moments of a process that has been told to end."""
    if now() != NOTHING:
        with contextlib.suppress(AssertionError):
            wait_for("the test's processes to end", lambda: now() == NOTHING, timeout_s=60)
        assert now() == NOTHING


@pytest.fixture(scope="module")
def unmeasured() -> Iterator[None]:
    """For modules whose processes work hard, or run what others run too: coverage there would cost minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


def is_whole(path: Path) -> bool:
    """Whether a data file of coverage can be combined with others."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as data:
            begun = data.execute("SELECT version FROM coverage_schema").fetchone() is not None
            return begun and data.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        return False


@pytest.hookimpl(wrapper=True, trylast=True)  # inside of pytest-cov's, which combines the files when this returns
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Remove what cannot be combined: of processes killed, or out of disk on purpose, while they wrote it."""
    result = yield
    if session.config.getoption("cov_source", None) and not hasattr(session.config, "workerinput"):
        for path in session.config.rootpath.glob(".coverage.*"):
            if not is_whole(path):
                path.unlink()
    return result
