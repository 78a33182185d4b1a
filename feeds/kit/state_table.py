"""The state table of a feed: one row per instrument, int64, shared by the kernel that reads frames and the adapter.

Three columns are the same for every venue. The others belong to id streams, three columns each: the last id recorded,
the venue's time of that record, and why the next record comes after a gap. A venue that numbers other things than
trades, aggregate trades and quotes appends columns.
"""

from __future__ import annotations

from typing import Final

NONE: Final = -1
"""No id seen yet, or no such symbol."""

INSTRUMENT: Final = 0
PRICE_SCALE: Final = 1
SIZE_SCALE: Final = 2
LAST_TRADE: Final = 3  # id of the last trade recorded, NONE before the first; the next two columns belong to it
LAST_TRADE_NS: Final = 4
CAUSE_TRADE: Final = 5  # not 0: why the next trade comes after a gap (a GapCause)
LAST_AGG: Final = 6
LAST_AGG_NS: Final = 7
CAUSE_AGG: Final = 8
LAST_QUOTE: Final = 9
LAST_QUOTE_NS: Final = 10
CAUSE_QUOTE: Final = 11
SEEN_QUOTE: Final = 12  # NEWS if a quote (next column: a book event) has come since the adapter last cleared it
SEEN_BOOK: Final = 13
SEEN_TRADE: Final = 14  # likewise a trade, of venues whose trade ids have holes
RECENT: Final = 15  # pairs of id and time: the last recorded trade with this id modulo RECENT_PAIRS; 0: none
RECENT_PAIRS: Final = 64
STATE_COLUMNS: Final = RECENT + 2 * RECENT_PAIRS

NEWS: Final = 1
OLD_NEWS: Final = 2
"""What has come preceded a rejected message of the stream: see stream_rejects.py."""

ID_RESET_NS: Final = 1_000_000_000
"""An id that goes back while the venue's time advances by more than this starts a new count, and is not a duplicate."""
