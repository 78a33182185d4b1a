"""What the conformance suite must know about each venue of the catalogue: one row here gives a venue the whole suite.

Each venue's row is defined in a module of its own; most frames come from its simulated dialect.
"""

from __future__ import annotations

from typing import Final

import alpha_vantage_sample
import binance_sample
import coinbase_sample
import dbn_sample
import dxlink_sample
import kraken_sample
import okx_sample
import polygon_sample
from venue_sample import VenueSample

SAMPLES: Final[dict[str, VenueSample]] = {
    sample.venue: sample
    for sample in (
        *binance_sample.SAMPLES,
        *kraken_sample.SAMPLES,
        *coinbase_sample.SAMPLES,
        *okx_sample.SAMPLES,
        *alpha_vantage_sample.SAMPLES,
        *polygon_sample.SAMPLES,
        *dxlink_sample.SAMPLES,
        *dbn_sample.SAMPLES,
    )
}

WITH_FRAMES: Final = {name: sample for name, sample in SAMPLES.items() if not sample.stream}
WITH_LINKS: Final = {name: sample for name, sample in WITH_FRAMES.items() if sample.has_links}
WITH_BOOKS: Final = {name: sample for name, sample in SAMPLES.items() if sample.has_book}
WITH_LIVES: Final = {name: sample for name, sample in SAMPLES.items() if sample.has_life}
