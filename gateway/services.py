"""What the routes work with: the live side, the store, the plant."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tickplant.gateway.live_hub import LiveHub
from tickplant.gateway.plant_line import PlantLine
from tickplant.gateway.static_pages import StaticPages
from tickplant.gateway.store_readers import StoreReaders
from tickplant.runtime.config import GatewayConfig

if TYPE_CHECKING:
    from tickplant.gateway.admission import Admission


class Services(NamedTuple):
    """Of one gateway."""

    config: GatewayConfig
    hub: LiveHub
    readers: StoreReaders
    plant: PlantLine
    pages: StaticPages
    counts: dict[str, int]  # by what, since the gateway began
    admission: list[Admission]  # the layer around the routes, once it is there
