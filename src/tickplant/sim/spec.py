"""The specification of a simulated venue: one struct, JSON on its stdin.

Defaults are those of the real venue where it has any; the values that only a simulation knows are chosen for a demo.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from tickplant.errors import FeedError
from tickplant.sim.faults import KINDS, Scripted

Venue = Literal["binance", "binance-usdm"]
Positive = Annotated[float, msgspec.Meta(gt=0)]
PositiveInt = Annotated[int, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class SimSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`python -m tickplant.sim`. A path in `recording` decides between the two modes."""

    venue: Venue = "binance"
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0  # 0: any free one, told in the ready line
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    # A recording, played to whoever has subscribed.
    recording: str | None = None
    speed: Positive | Literal["max"] = 1.0
    settle_s: NotNegative = 0.2  # from the moment every recorded stream has a subscriber to the first frame
    settle_partial_s: NotNegative = 2.0  # the same where some recorded streams find no subscriber
    hold_s: NotNegative = 10.0  # longest wait at the snapshot line for a client to ask for it
    quiet_s: NotNegative = 0.05  # silence before and after the snapshot, for the client to digest what it has

    # A synthetic market.
    symbols: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("BTCUSDT", "ETHUSDT", "BNBUSDT")
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    # Trade, bookTicker and the faster depth stream of all symbols together. A market that cannot keep up skips time.
    messages_per_s: Annotated[float, msgspec.Meta(ge=1e-3, le=1e9)] = 1000.0
    burstiness: Annotated[float, msgspec.Meta(ge=0, le=4)] = 1.0  # 0: evenly spaced arrivals
    depth_levels: Annotated[int, msgspec.Meta(ge=20, le=5000)] = 1000  # about this many levels on each side
    limit_messages: PositiveInt | None = None  # the market falls silent after this many messages
    duration_s: Positive | None = None  # … or after this time
    history_trades: PositiveInt = 1 << 17  # trades of all symbols kept for the REST trade endpoints
    tick_ms: Positive = 2.0  # messages are sent in batches, this far apart at the least
    microseconds: bool = False  # time unit where the client asks for none

    # Rules of the venue; None is the venue's own figure.
    ping_interval_s: Positive | None = None
    pong_timeout_s: Positive | None = None
    life_s: Positive = 86_400.0
    client_messages_per_s: PositiveInt | None = None
    weight_per_minute: PositiveInt | None = None
    max_streams: PositiveInt = 1024
    max_buffer_bytes: PositiveInt = 16 << 20  # a client this far behind is dropped, as venues do

    log: str | None = None  # append every frame sent: `<time, ns> <connection> <frame>`; see outlet.Outlet

    # Faults: from a script, and a random mixture from a seed. More of them by POST /sim/fault.
    faults: tuple[Scripted, ...] = ()
    fault_seed: int | None = None
    faults_per_s: Positive = 0.1
    fault_kinds: tuple[str, ...] = ()  # of the mixture; empty: all


class Rules(msgspec.Struct, frozen=True):
    """Figures in which the venues differ."""

    rest_prefix: str
    base_paths: tuple[str, ...]  # WebSocket paths below which /ws and /stream live
    ping_interval_s: float
    pong_timeout_s: float
    client_messages_per_s: int
    weight_per_minute: int


RULES: Final[dict[str, Rules]] = {
    "binance": Rules("/api/v3", ("",), 20.0, 60.0, 5, 6000),
    "binance-usdm": Rules("/fapi/v1", ("", "/public", "/market"), 180.0, 600.0, 10, 2400),
}


def rules(spec: SimSpec) -> Rules:
    """The venue's figures, with those that the spec sets in their place."""
    venue = RULES[spec.venue]
    return msgspec.structs.replace(
        venue,
        ping_interval_s=spec.ping_interval_s or venue.ping_interval_s,
        pong_timeout_s=spec.pong_timeout_s or venue.pong_timeout_s,
        client_messages_per_s=spec.client_messages_per_s or venue.client_messages_per_s,
        weight_per_minute=spec.weight_per_minute or venue.weight_per_minute,
    )


def parse_spec(text: str | bytes) -> SimSpec:
    """Read a spec. Raises FeedError naming the key at fault."""
    try:
        spec = msgspec.json.decode(text, type=SimSpec)
    except msgspec.DecodeError as error:
        raise FeedError(f"simulated venue: the spec is wrong: {error}") from None
    for symbol in spec.symbols:
        if not (symbol.isascii() and symbol.isalnum() and symbol == symbol.upper()):
            raise FeedError(f"simulated venue: {symbol!r} is not a symbol; write it like BTCUSDT")
    if len(set(spec.symbols)) < len(spec.symbols):
        raise FeedError(f"simulated venue: a symbol is listed twice in {', '.join(spec.symbols)}")
    for scripted in spec.faults:
        if (scripted.at_s is None) == (scripted.at_message is None):
            raise FeedError("simulated venue: each of the faults needs either at_s or at_message")
    if unknown := [kind for kind in spec.fault_kinds if kind not in KINDS]:
        raise FeedError(f"simulated venue: {unknown[0]!r} is no fault; known are {', '.join(KINDS)}")
    return spec
