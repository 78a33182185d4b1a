"""What a plan has the fork server ready for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tickplant.plant import plans
from tickplant.plant.launcher import LIVE_MODULES
from tickplant.runtime import config as cfg
from tickplant.venues import VENUES

FEED = '[feeds.{venue}]\nvenue = "{venue}"\nsymbols = ["{symbol}"]\n'
REST = "[engines.engine]\n[writers.writer]\n"
SYMBOLS = {"binance": "BTCUSDT", "binance-usdm": "BTCUSDT", "kraken": "BTC/USD"}


@pytest.mark.parametrize("wanted", [("binance",), ("kraken",), ("binance", "binance-usdm"), ("binance", "kraken")])
def test_the_venues_that_have_a_feed_are_warm_before_a_feed_is_forked(wanted: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "plant.toml"
    file.write_text("".join(FEED.format(venue=venue, symbol=SYMBOLS[venue]) for venue in wanted) + REST)
    modules = plans.modules(plans.live(cfg.load(file), plans.Addresses()))
    kernels = {venue.kernels for venue in VENUES.values()}
    assert kernels & set(modules) == {VENUES[venue].kernels for venue in wanted}
    assert len(modules) == len(set(modules))
    assert max(modules.index(name) for name in kernels & set(modules)) < modules.index("tickplant.plant.continuation")
    # What is warmed before the configuration is read is what every plan needs, in the same order.
    assert [name for name in modules if name in LIVE_MODULES] == list(LIVE_MODULES)
