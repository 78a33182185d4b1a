"""The dialogue with the live gateway before records flow: lines of `key=value`, joined by |.

The gateway greets and sends a challenge; the answer is its hash with the key, and the last five characters of the key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from tickplant.feeds.venues.databento import venue as facts

BUCKET: Final = 5
LINE_BYTES: Final = 1 << 16
START: Final = b"start_session=0\n"


def fields_of(line: bytes) -> dict[str, str]:
    """The fields of a line."""
    parts = (part.partition("=") for part in line.decode(errors="replace").strip().split("|"))
    return {key: value for key, _, value in parts if key}


def answer_to(challenge: str, key: str) -> str:
    """The proof of having the key."""
    return f"{hashlib.sha256(f'{challenge}|{key}'.encode()).hexdigest()}-{key[-BUCKET:]}"


def authentication(challenge: str, key: str, dataset: str) -> bytes:
    """The line that answers a challenge."""
    return (
        f"auth={answer_to(challenge, key)}|dataset={dataset}|encoding=dbn|ts_out=0|compression=none"
        f"|heartbeat_interval_s={facts.HEARTBEAT_S}|client=tickplant\n"
    ).encode()


def schemas_of(channels: Sequence[str]) -> list[str]:
    """The schemas that carry these channels; that of trades only if no other one carries them."""
    schemas = [facts.SCHEMA_OF_CHANNEL[channel] for channel in channels if channel in facts.SCHEMA_OF_CHANNEL]
    if any(schema in facts.WITH_TRADES[:-1] for schema in schemas):
        schemas = [schema for schema in schemas if schema != "trades"]
    return schemas


def trades_of(schemas: Sequence[str]) -> str:
    """The one of these schemas whose trades are recorded."""
    return next((schema for schema in facts.WITH_TRADES if schema in schemas), "")


def subscriptions(schemas: Sequence[str], symbols: Sequence[str]) -> Iterator[bytes]:
    """The lines that subscribe to symbols, without their dataset, in each of these schemas."""
    kinds: dict[str, list[str]] = {}
    for symbol in symbols:
        kinds.setdefault(facts.symbol_type(symbol), []).append(symbol)
    number = 0
    for schema in schemas:
        snapshot = int(schema == facts.SNAPSHOT_SCHEMA)
        for kind, names in kinds.items():
            number += 1
            for start in range(0, len(names), facts.SYMBOLS_PER_REQUEST):
                part = names[start : start + facts.SYMBOLS_PER_REQUEST]
                last = int(start + len(part) == len(names))
                yield (
                    f"schema={schema}|stype_in={kind}|symbols={','.join(part)}|snapshot={snapshot}|id={number}"
                    f"|is_last={last}\n"
                ).encode()
