"""Ids in Binance messages."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

MAX_ID: Final = 2**63 - 1

Id = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]
