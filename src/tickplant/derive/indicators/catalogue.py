"""All indicators by name."""

from __future__ import annotations

from typing import Final

from tickplant.derive.indicator import Indicator
from tickplant.derive.indicators.averages import AVERAGES
from tickplant.derive.indicators.best_quotes import BEST_QUOTES
from tickplant.derive.indicators.book_flows import BOOK_FLOWS
from tickplant.derive.indicators.book_levels import BOOK_LEVELS
from tickplant.derive.indicators.liquidity import LIQUIDITY
from tickplant.derive.indicators.oscillators import OSCILLATORS
from tickplant.derive.indicators.trends import TRENDS
from tickplant.derive.indicators.volatilities import VOLATILITIES
from tickplant.derive.indicators.volumes import VOLUMES
from tickplant.errors import DeriveError

ALL: Final = (
    *(*AVERAGES, *OSCILLATORS, *TRENDS, *VOLUMES, *VOLATILITIES, *LIQUIDITY, *BEST_QUOTES),
    *(*BOOK_LEVELS, *BOOK_FLOWS),
)
INDICATORS: Final[dict[str, Indicator]] = {one.name: one for one in ALL}


def indicator(name: str) -> Indicator:
    """The indicator with this name. Raises DeriveError, which lists the known names."""
    if name not in INDICATORS:
        raise DeriveError(f"no such indicator; choose from {', '.join(INDICATORS)}", key=name)
    return INDICATORS[name]
