"""Best bids and offers of the books that an engine keeps."""

from __future__ import annotations

import re
from typing import Final

from tickplant.derive.derivation import Derivation, OfTicks
from tickplant.records.channels import BBO_CHANNEL
from tickplant.records.layouts import Kind, Schema

BEST_OFFERS: Final = Derivation(
    schema=Schema.BBO,
    make=lambda bench: OfTicks(bench.books),
    channel=lambda _number, _names: BBO_CHANNEL,
    channels=re.compile(BBO_CHANNEL),
    examples=lambda _: [BBO_CHANNEL],
    begins=Kind.CLEAR,
    restated=True,
    reference="books.plain_books.DictBooks",
)
