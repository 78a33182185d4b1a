"""The lines of captures and recordings: the events of a feed, one per line, both directions.

A capture holds all that an adapter received and sent, so the adapter can receive the same again:

    NS<LINK FRAME       a message that came over a link
    NS=LINK BASE64      likewise, for bytes that are not text
    NS>LINK FRAME       a message sent
    NS+LINK             the link's socket opened
    NS-LINK REASON      … and closed
    NS!JSON             an answer: {"request":…,"method":…,"endpoint":…,"path":…,"status":…,"data":…}; `text` if the
                        body is not JSON
    NS.                 a second passed
    NS*SYMBOL           an operator asked for the book again; for all books where SYMBOL is empty
    NS&JSON             an operator added or removed symbols: {"added":[…],"removed":[…]}

NS is the receive time in ns since the epoch. Recordings made elsewhere are `TIME FRAME` (`runtime/line_times.py`). So
are captures of the first version, which store answers as frames `{"rest":KEY,"data":…}`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from tickplant.feeds.contract import Answer, Closed, Event, Frames, Opened, Request, Resync, Second, Send, Symbols
from tickplant.runtime.line_times import EARLIEST_NS, LATEST_NS, split_time, why_not_split
from tickplant.runtime.recorded_lines import LINE_BYTES, CutLine

_MARKED: Final = re.compile(rb"(\d{18,19})([<=>+\-!.*&])([^ ]*) ?", re.DOTALL)


class _Answer(msgspec.Struct):
    key: str = msgspec.field(name="request")  # not "key", which names a credential and would be masked
    status: int
    method: str = "GET"
    endpoint: str = "rest"
    path: str = ""
    retry_after_s: float | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET


class _OldAnswer(msgspec.Struct):
    rest: str
    data: msgspec.Raw


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_OLD_ANSWER: Final = msgspec.json.Decoder(_OldAnswer)
_SYMBOLS: Final = msgspec.json.Decoder(Symbols)
_OLD_ANSWER_START: Final = b'{"rest":'


def lines_of(link: str, frames: Sequence[bytes], ts_recv_ns: int) -> bytes:
    """The frames of one read as lines, without the last line feed.

    A line feed in a text frame (JSON has them between values only) becomes a space.
    """
    stamp = b"%d<%s " % (ts_recv_ns, link.encode())
    text = (b"\n" + stamp).join(frames)
    if not text.isascii() or b"\0" in text or text.count(b"\n") != len(frames) - 1:
        return b"\n".join([_line_of(frame, stamp) for frame in frames])
    return stamp + text


def _line_of(frame: bytes, stamp: bytes) -> bytes:
    try:
        is_text = b"\0" not in frame and frame.decode() is not None
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        return stamp.replace(b"<", b"=", 1) + base64.b64encode(frame)
    return stamp + frame.replace(b"\n", b" ")


def line_of(event: Opened | Closed | Answer | Second | Resync | Symbols | Send, now_ns: int) -> bytes:
    """The line, without its end, of any event but frames."""
    match event:
        case Opened(link):
            return b"%d+%s" % (now_ns, link.encode())
        case Closed(link, reason):
            return b"%d-%s %s" % (now_ns, link.encode(), " ".join(reason.split()).encode())
        case Send(link, payload):
            return b"%d>%s %s" % (now_ns, link.encode(), payload.replace(b"\n", b" "))
        case Second():
            return b"%d." % now_ns
        case Resync(symbol):
            return b"%d*%s" % (now_ns, symbol.encode())
        case Symbols():
            return b"%d&%s" % (now_ns, msgspec.json.encode(event))
        case Answer(request, status, body, retry_after_s):
            answer = _Answer(request.key, status, request.method, request.endpoint, request.path, retry_after_s)
            try:
                msgspec.json.decode(body, type=msgspec.Raw)
                answer.data = msgspec.Raw(body.replace(b"\n", b" ").replace(b"\r", b" "))
            except (msgspec.DecodeError, UnicodeDecodeError):
                answer.text = body.decode(errors="replace")
            return b"%d!%s" % (now_ns, msgspec.json.encode(answer))


def parse_line(line: bytes) -> tuple[int, Event | None] | None:
    """Time in ns and event of one line; the event is None for a message sent. None for a bad line: see `why_not`."""
    if found := split_time(line):
        return found[0], _unmarked(found[1].rstrip(b"\r"))
    return _marked(line)


def _unmarked(frame: bytes) -> Event:
    if frame.startswith(_OLD_ANSWER_START):
        try:
            answer = _OLD_ANSWER.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Frames("", (frame,))
        return Answer(Request(answer.rest, ""), 200, bytes(answer.data))
    return Frames("", (frame,))


def _marked(line: bytes) -> tuple[int, Event | None] | None:
    match = _MARKED.match(line)
    if match is None:
        return None
    now_ns, mark = int(match[1]), match[2]
    if not EARLIEST_NS <= now_ns < LATEST_NS:
        return None
    rest = line[match.end() :].removesuffix(b"\r")
    try:
        if mark == b"!":
            answer = _ANSWER.decode(line[match.start(3) :])
            body = answer.text.encode() if isinstance(answer.text, str) else bytes(answer.data or b"")
            request = Request(answer.key, answer.path, method=answer.method, endpoint=answer.endpoint)
            return now_ns, Answer(request, answer.status, body, answer.retry_after_s)
        if mark == b"&":
            return now_ns, _SYMBOLS.decode(line[match.start(3) :])
        link = match[3].decode()
        if mark == b"=":
            return now_ns, Frames(link, (base64.b64decode(rest, validate=True),))
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error):
        return None
    if mark == b"<":
        return (now_ns, Frames(link, (rest,))) if rest else None
    events: dict[bytes, Event | None] = {
        b".": Second(),
        b"*": Resync(link),
        b">": None,
        b"+": Opened(link),
        b"-": Closed(link, rest.decode(errors="replace")),
    }
    return now_ns, events[mark]


def why_not(line: bytes) -> str:
    """Why a line is not one of a recording, for the reject log."""
    if isinstance(line, CutLine):
        return f"longer than {LINE_BYTES >> 20} MiB"
    return "its time or its content cannot be read" if _MARKED.match(line) else why_not_split(line)
