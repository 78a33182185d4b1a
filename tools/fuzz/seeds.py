"""The initial corpus: frames of the simulated venue, documented frames, and golden files if present.

An input is a few lines: a frame, or `=KEY BODY`, the answer to a request. They reach the adapter in this order.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from venue_samples import SAMPLES
from venue_session import Happened, short_session

from tickplant.feeds.contract import Answer, Frames

GOLDEN: Final = Path(__file__).parents[3] / "shared" / "golden"
WINDOW: Final = 8
"""Lines of an input that tells a story, such as a snapshot and the changes after it."""

ODD: Final = (
    "1e400",
    "1E-30",
    "-1",
    "9" * 30,
    "18446744073709551615",
    "NaN",
    "null",
    "\\u0041",
    "1e-11",
    "00",
    "[]",
    "{}",
)
"""Words that a search by single bytes would take long to find."""


def seeds(venue: str) -> list[bytes]:
    """Inputs: single lines, and runs of lines; for a stream, pieces of it after its beginning."""
    if SAMPLES[venue].stream:
        frames = [frame for _, what in session(venue) if isinstance(what, Frames) for frame in what.frames]
        begin = next(place for place, frame in enumerate(frames) if SAMPLES[venue].owner(frame) is not None)
        records = [*frames[begin : begin + 8 * WINDOW], *SAMPLES[venue].frames]
        runs = [records[start : start + WINDOW] for start in range(0, len(records), WINDOW // 2)]
        return [b"".join([frames[begin - 1], *run]) for run in ([], *runs)]
    told = [line for line in _told(venue) if b"\n" not in line]
    runs = [told[start : start + WINDOW] for start in range(0, len(told), WINDOW // 2)]
    # Pairs that belong together are far apart in a session: a book, and each message that may follow it.
    singles = [*told[: 8 * WINDOW], *SAMPLES[venue].frames, *_golden(venue)]
    golden = list(_golden(venue))
    runs += [golden[start : start + WINDOW] for start in range(0, len(golden), WINDOW // 2)]
    return [*dict.fromkeys([*singles, *(b"\n".join(run) for run in runs)])]


@functools.cache
def session(venue: str) -> list[Happened]:
    """A second of the venue, and the beginning of another connection."""
    return short_session(SAMPLES[venue])


def _told(venue: str) -> Iterator[bytes]:
    """The venue's messages in that session, over links and as answers."""
    for _, what in session(venue):
        match what:
            case Frames(_, frames):
                yield from frames
            case Answer(request, 200, body):
                yield b"=%b %b" % (request.key.replace(" ", "_").encode(), body.replace(b"\n", b" "))


def _golden(venue: str) -> Iterator[bytes]:
    # A file may cover a family of venues, such as binance.jsonl.
    for path in sorted(GOLDEN.glob("*.jsonl")):
        if venue.partition("-")[0] == path.stem:
            for line in path.read_text(encoding="utf-8").splitlines():
                yield str(json.loads(line)["raw"]).encode().replace(b"\n", b" ")


def write(folder: Path, inputs: Sequence[bytes]) -> None:
    """Write each input to a file named after its content, as the search names those that it adds."""
    folder.mkdir(parents=True, exist_ok=True)
    for content in inputs:
        (folder / hashlib.sha1(content, usedforsecurity=False).hexdigest()).write_bytes(content)


def write_words(path: Path, inputs: Sequence[bytes]) -> None:
    """Write a libFuzzer dictionary: the texts of the inputs, and odd numbers."""
    texts = {text for content in inputs for text in re.findall(rb'"[A-Za-z_]{1,24}":?', content)}
    words = [*sorted(texts), *(word.encode() for word in ODD)]
    path.write_bytes(b"".join(b'"%b"\n' % word.replace(b"\\", b"\\\\").replace(b'"', b'\\"') for word in words))
