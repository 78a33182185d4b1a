"""The specification of a simulated venue: one struct, as JSON on its stdin.

Defaults are those of the real venue, if it has any; values that only a simulation knows are chosen for a demo.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tickplant.errors import FeedError
from tickplant.sim.dialect_table import DIALECTS
from tickplant.sim.faults import KINDS, Scripted

Positive = Annotated[float, msgspec.Meta(gt=0)]
PositiveInt = Annotated[int, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class SimSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`python -m tickplant.sim`. A path in `recording` decides between the two modes."""

    venue: str = "binance"  # of dialect_table.DIALECTS
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0  # 0: any free port, stated in the ready line
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    # A recording, played to its subscribers.
    recording: str | None = None
    speed: Positive | Literal["max"] = 1.0
    recording_per_s: Positive | None = None  # records a second, instead of the recorded times; only databento
    loop: bool = False  # again and again; only databento
    key: str = ""  # required of clients; only databento
    settle_s: NotNegative = 0.2  # from the moment every recorded stream has a subscriber to the first frame
    settle_partial_s: NotNegative = 2.0  # the same if some recorded streams find no subscriber
    hold_s: NotNegative = 10.0  # longest wait at the snapshot line for a client's request
    quiet_s: NotNegative = 0.05  # silence before and after the snapshot, for the client to digest its data

    # A synthetic market.
    symbols: tuple[str, ...] = ()  # empty: those of the dialect table
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    # Rate of trades, best prices and the fastest book updates, over all symbols. A market that is too slow skips time.
    messages_per_s: Annotated[float, msgspec.Meta(ge=1e-3, le=1e9)] = 1000.0
    burstiness: Annotated[float, msgspec.Meta(ge=0, le=4)] = 1.0  # 0: evenly spaced arrivals
    depth_levels: Annotated[int, msgspec.Meta(ge=20, le=5000)] = 1000  # about this many levels on each side
    limit_messages: PositiveInt | None = None  # the market falls silent after this many messages
    duration_s: Positive | None = None  # … or after this time
    history_trades: PositiveInt = 1 << 17  # trades of all symbols kept for the REST trade endpoints
    tick_ms: Positive = 2.0  # least time between two batches of messages
    # Binance: print this many trades and best prices in advance, and send them repeatedly with new ids and times, from
    # the first subscriber on. Costs a tenth of a live market; books do not change.
    prepared_messages: PositiveInt | None = None
    microseconds: bool = False  # Binance: time unit if the client asks for none

    # Rules of the venue; None is the venue's own figure.
    ping_interval_s: Positive | None = None
    pong_timeout_s: Positive | None = None
    life_s: Positive = 86_400.0
    client_messages_per_s: PositiveInt | None = None
    weight_per_minute: PositiveInt | None = None
    max_streams: PositiveInt = 1024  # of a connection
    max_buffer_bytes: PositiveInt = 16 << 20  # a client this far behind is dropped, as venues do

    log: str | None = None  # append every frame sent: `<time, ns> <connection> <frame>`; see outlet.Outlet

    # Faults: from a script, and a random mixture from a seed. POST /sim/fault adds more.
    faults: tuple[Scripted, ...] = ()
    fault_seed: int | None = None
    faults_per_s: Positive = 0.1
    fault_kinds: tuple[str, ...] = ()  # of the mixture; empty: all


def parse_spec(text: str | bytes) -> SimSpec:
    """Read a spec. Raises FeedError, which names the key at fault."""
    try:
        spec = msgspec.json.decode(text, type=SimSpec)
    except msgspec.DecodeError as error:
        raise FeedError(f"simulated venue: the spec is wrong: {error}") from None
    entry = DIALECTS.get(spec.venue)
    if entry is None:
        known = ", ".join(sorted(DIALECTS))
        raise FeedError(f"simulated venue: the spec is wrong: {spec.venue!r} is not a venue; choose from {known}")
    spec = msgspec.structs.replace(spec, symbols=spec.symbols or entry.symbols)
    for symbol in spec.symbols:
        if not entry.is_symbol(symbol):
            raise FeedError(f"simulated venue: {symbol!r} is not a symbol; write it like {entry.symbols[0]}")
    if len(set(spec.symbols)) < len(spec.symbols):
        raise FeedError(f"simulated venue: a symbol is listed twice in {', '.join(spec.symbols)}")
    for scripted in spec.faults:
        if (scripted.at_s is None) == (scripted.at_message is None):
            raise FeedError("simulated venue: each of the faults needs either at_s or at_message")
    if unknown := [kind for kind in spec.fault_kinds if kind not in KINDS]:
        raise FeedError(f"simulated venue: {unknown[0]!r} is not a fault; choose from {', '.join(KINDS)}")
    return spec
