"""Faults that the simulated venue commits on request: their kinds, and random mixtures of them. Pure.

A fault is one JSON object, `{"fault": "drop", "stream": "btcusdt@depth*", "count": 2}`. It is *armed* when given and
*hits* each time it has an effect. `stream` is a pattern (`*`, `?`, `[…]`) over the source's names of streams;
`connection` is the number of a connection in the ledger, 0 for any. All connections share a count: a fault that hits
one of them is used up for all, as two connections to a real venue seldom lose the same message.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Final, NamedTuple

import msgspec

from tickplant.errors import FeedError
from tickplant.sim.conversation import Refused

Positive = Annotated[float, msgspec.Meta(gt=0)]
PositiveInt = Annotated[int, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
NotNegativeInt = Annotated[int, msgspec.Meta(ge=0)]
CloseCode = Annotated[int, msgspec.Meta(ge=1000, le=4999)]
Status = Annotated[int, msgspec.Meta(ge=200, le=599)]


class Base(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="fault"):
    """What all faults share."""


class OnFrames(Base, frozen=True, kw_only=True):
    """A fault of the next `count` messages of matching streams, after `skip` unharmed ones."""

    stream: str = "*"
    connection: NotNegativeInt = 0
    count: PositiveInt = 1
    skip: NotNegativeInt = 0


class Drop(OnFrames, frozen=True, kw_only=True, tag="drop"):
    """The message is not sent."""


class Duplicate(OnFrames, frozen=True, kw_only=True, tag="duplicate"):
    """The message is sent twice."""


class Reorder(OnFrames, frozen=True, kw_only=True, tag="reorder"):
    """The message is sent after the next one of its stream."""


class Truncate(OnFrames, frozen=True, kw_only=True, tag="truncate"):
    """The first half of the message is sent, as a whole frame."""


class Garbage(OnFrames, frozen=True, kw_only=True, tag="garbage"):
    """A meaningless frame is sent before the message; without `text`, the venue's own."""

    text: str | None = None
    binary: bool = False


class Corrupt(OnFrames, frozen=True, kw_only=True, tag="corrupt"):
    """One digit of the message is wrong: the last of the first number after `key`, or else of the last number."""

    key: str | None = None  # None: a value protected by the venue's checksum, or the checksum itself


class Oversize(OnFrames, frozen=True, kw_only=True, tag="oversize"):
    """After the message a frame begins that claims to be `size_bytes` long; everything after that is inside it."""

    size_bytes: PositiveInt = (64 << 20) + 1


class Silent(Base, frozen=True, kw_only=True, tag="silent"):
    """Subscriptions to matching streams are acknowledged but deliver nothing for the connection's life.

    Applies to the connections open now, or to the next `new_connections` ones.
    """

    stream: str = "*"
    connection: NotNegativeInt = 0
    new_connections: NotNegativeInt = 0


class Stall(Base, frozen=True, kw_only=True, tag="stall"):
    """The open connections stay open, but neither data nor answers are sent on them; these are lost, not late.

    With `pings`, pings and pongs continue. Without `for_s` the stall lasts for the connection's life.
    """

    connection: NotNegativeInt = 0
    for_s: Positive | None = None
    pings: bool = True


class Disconnect(Base, frozen=True, kw_only=True, tag="disconnect"):
    """The open connections end, with a close frame of this code or without one."""

    connection: NotNegativeInt = 0
    close_frame: bool = True
    code: CloseCode = 1001
    reason: str = "going away"


class Cut(Base, frozen=True, kw_only=True, tag="cut"):
    """The open connections reach their maximum age: the venue announces the end, and closes them `after_s` later."""

    connection: NotNegativeInt = 0
    announced: bool = True
    after_s: NotNegative = 1.0


class RefuseSubscription(Base, frozen=True, kw_only=True, tag="refuse-subscription"):
    """The next requests to subscribe fail with an error, by default the venue's own; nothing is subscribed."""

    connection: NotNegativeInt = 0
    count: PositiveInt = 1
    code: int | None = None
    text: str | None = None


class RefuseConnection(Base, frozen=True, kw_only=True, tag="refuse-connection"):
    """The next handshakes are answered with an HTTP status instead of 101."""

    count: PositiveInt = 1
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 503
    retry_after_s: PositiveInt | None = None


class Rest(Base, frozen=True, kw_only=True, tag="rest"):
    """The next REST requests are answered late, or refused with a status; with `cut`, the connection ends instead.

    `endpoint` is a pattern over the last part of the path, such as `depth`; `/sim/…` is exempt. Status 200 refuses
    nothing.
    """

    endpoint: str = "*"
    count: PositiveInt = 1
    status: Status = 200
    delay_s: NotNegative = 0.0
    retry_after_s: PositiveInt | None = None
    cut: bool = False


class StaleSnapshot(Base, frozen=True, kw_only=True, tag="stale-snapshot"):
    """The next snapshots of matching symbols show the book as it was when the fault was armed."""

    symbol: str = "*"
    count: PositiveInt = 1


class Refine(Base, frozen=True, kw_only=True, tag="refine"):
    """From now on prices of a symbol have `digits` more decimals, as when a venue reduces a tick size."""

    symbol: str
    digits: Annotated[int, msgspec.Meta(ge=1, le=4)] = 1


class Halt(Base, frozen=True, kw_only=True, tag="halt"):
    """Trading of a symbol stops, and its status says so, by default in the venue's word; without `for_s` for good."""

    symbol: str
    status: str | None = None
    for_s: Positive | None = None


class Delist(Base, frozen=True, kw_only=True, tag="delist"):
    """A symbol is neither traded nor listed; without `for_s` for good."""

    symbol: str
    for_s: Positive | None = None


Fault = (
    Drop
    | Duplicate
    | Reorder
    | Truncate
    | Garbage
    | Corrupt
    | Oversize
    | Silent
    | Stall
    | Disconnect
    | Cut
    | RefuseSubscription
    | RefuseConnection
    | Rest
    | StaleSnapshot
    | Refine
    | Halt
    | Delist
)


class Scripted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault and when to arm it: this long after the venue is ready, or after this many frames."""

    fault: Fault
    at_s: NotNegative | None = None
    at_message: NotNegativeInt | None = None


def parse_fault(text: bytes) -> Fault:
    """Read one fault. Raises FeedError, which names the key at fault."""
    try:
        return _FAULT.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FeedError(f"simulated venue: this is not a fault: {error}") from None


_FAULT: Final[msgspec.json.Decoder[Fault]] = msgspec.json.Decoder(Fault)


class FaultWords(NamedTuple):
    """The form of faults at a venue, and which ones can occur there."""

    kinds: tuple[str, ...]  # tags of the faults in a random mixture
    garbage: str  # a frame that is not a message
    corrupt: str  # key of the number to corrupt
    refused: Refused  # a request to subscribe
    trading: str  # status of a traded instrument
    halted: str  # … of a halted one
    delisted: str
    endpoints: tuple[str, ...]  # patterns over the last part of REST paths
    book_of: Callable[[str], str]  # the book stream of a stream's symbol
    with_ids: Callable[[str], str]  # a stream of the same symbol that shows each lost message
    loses: Callable[[str], str] = lambda stream: stream  # the stream, or another one if it cannot lose a message

    def complete(self, fault: Fault) -> Fault:
        """The fault, with the venue's words in place of missing ones."""
        match fault:
            case Garbage(text=None):
                return msgspec.structs.replace(fault, text=self.garbage)
            case Corrupt(key=None):
                return msgspec.structs.replace(fault, key=self.corrupt)
            case RefuseSubscription():
                code = self.refused.code if fault.code is None else fault.code
                text = self.refused.text if fault.text is None else fault.text
                return msgspec.structs.replace(fault, code=code, text=text)
            case Halt(status=None):
                return msgspec.structs.replace(fault, status=self.halted)
            case _:
                return fault


def random_faults(
    seed: int, per_s: float, streams: Sequence[str], words: FaultWords, kinds: Sequence[str] = ()
) -> Iterator[tuple[float, Fault]]:
    """An endless mixture, the same for the same arguments: the wait in seconds, then the fault.

    Args:
        seed: seed of the mixture.
        per_s: faults per second on average; the waits are exponential.
        streams: names of streams to choose from.
        words: of the venue.
        kinds: tags of the faults to choose from; empty for all that the venue can have.
    """
    chance = random.Random(seed)
    weights = {kind: weight for kind, (weight, _) in _MIXTURE.items() if kind in (kinds or words.kinds)}
    while True:
        wait_s = chance.expovariate(per_s)
        kind = chance.choices(list(weights), list(weights.values()))[0]
        yield wait_s, _MIXTURE[kind][1](chance, chance.choice(streams), words)


def _rest(chance: random.Random, words: FaultWords) -> Rest:
    endpoint = chance.choice(words.endpoints)
    kind = chance.choice(("slow", "failing", "limited", "banned", "cut"))
    if kind == "slow":
        return Rest(endpoint=endpoint, delay_s=chance.uniform(0.2, 2.0))
    if kind == "cut":
        return Rest(endpoint=endpoint, cut=True)
    if kind == "failing":
        return Rest(endpoint=endpoint, status=chance.choice((500, 502, 503)), count=chance.randint(1, 3))
    return Rest(endpoint=endpoint, status=429 if kind == "limited" else 418, retry_after_s=chance.randint(1, 2))


def _silent(chance: random.Random, stream: str, words: FaultWords) -> Silent:
    return Silent(stream=words.book_of(stream), new_connections=chance.randint(0, 1))


# By tag: relative frequency, and a maker. Faults are short enough that a feed recovers before the next but one.
_MIXTURE: Final[dict[str, tuple[float, Callable[[random.Random, str, FaultWords], Fault]]]] = {
    "drop": (
        5,
        lambda chance, stream, words: Drop(
            stream=words.loses(stream), count=chance.randint(1, 3), skip=chance.randint(0, 20)
        ),
    ),
    "duplicate": (3, lambda chance, stream, words: Duplicate(stream=stream, count=chance.randint(1, 3))),
    "reorder": (3, lambda chance, stream, words: Reorder(stream=words.with_ids(stream))),
    "truncate": (2, lambda chance, stream, words: Truncate(stream=stream)),
    "garbage": (2, lambda chance, stream, words: Garbage(stream=stream, binary=chance.random() < 0.5)),
    "corrupt": (3, lambda chance, stream, words: Corrupt(stream=words.book_of(stream))),
    "oversize": (1, lambda chance, stream, words: Oversize(stream=stream)),
    "silent": (1, _silent),
    "stall": (1, lambda chance, stream, words: Stall(for_s=chance.uniform(0.5, 5.0), pings=chance.random() < 0.5)),
    "disconnect": (2, lambda chance, stream, words: Disconnect(close_frame=chance.random() < 0.5)),
    "cut": (1, lambda chance, stream, words: Cut(announced=chance.random() < 0.7, after_s=chance.uniform(0.0, 3.0))),
    "refuse-subscription": (1, lambda chance, stream, words: RefuseSubscription()),
    "refuse-connection": (1, lambda chance, stream, words: RefuseConnection(count=chance.randint(1, 3))),
    "rest": (3, lambda chance, stream, words: _rest(chance, words)),
    "stale-snapshot": (1, lambda chance, stream, words: StaleSnapshot(count=chance.randint(1, 2))),
}
KINDS: Final = tuple(_MIXTURE)
"""Kinds of faults that a mixture can contain."""

INSTRUMENT_KINDS: Final = ("refine", "halt", "delist")
"""Faults of instruments rather than messages; a mixture has none, since it would have to undo them."""
