"""What the routes work with: the live side, the store, the plant."""

from __future__ import annotations

import dataclasses

from tickplant.gateway.admission import Admission
from tickplant.gateway.live_hub import LiveHub
from tickplant.gateway.plant_line import PlantLine
from tickplant.gateway.static_pages import StaticPages
from tickplant.gateway.store_readers import StoreReaders
from tickplant.runtime.config import GatewayConfig


@dataclasses.dataclass(frozen=True)
class Services:
    """The services of one gateway."""

    config: GatewayConfig
    hub: LiveHub
    readers: StoreReaders
    plant: PlantLine
    pages: StaticPages
    counts: dict[str, int]  # by name, since the gateway began
    admission: list[Admission] = dataclasses.field(default_factory=list)
