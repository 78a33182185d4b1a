"""Messages and set-up for tests of the Polygon adapter."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from venue_desk import Record, VenueDesk

from tickplant.feeds.contract import Hold, Send
from tickplant.feeds.venues.polygon import adapter

KEY = "A-PLANTED-KEY"
TIME = 1_788_267_600_784
CHANNELS = ("trade", "quote", "venue_bar", "statistic")


class Desk(VenueDesk):
    """A desk that keeps links on hold separate."""

    def __init__(self, *symbols: str, use_shapes: bool = True, **options: Any) -> None:
        self.holds: list[Hold] = []
        options = {"channels": CHANNELS, "secrets": {"key": KEY}} | options
        super().__init__(
            "polygon", partial(adapter.stocks, use_shapes=use_shapes), symbols or ("MSFT",), scale=6, **options
        )
        self.adapter.start(0)
        self._pull()

    def _pull(self) -> None:
        take = self.adapter.take

        def without_holds() -> Any:
            output = take()
            self.holds += [effect for effect in output.effects if isinstance(effect, Hold)]
            return output._replace(effects=[effect for effect in output.effects if not isinstance(effect, Hold)])

        self.adapter.take = without_holds
        try:
            super()._pull()
        finally:
            del self.adapter.take

    def status(self, word: str, message: str = "", ts: int = 0) -> list[Record]:
        return self.feed([{"ev": "status", "status": word, "message": message}], ts=ts)

    def logged_in(self, ts: int = 0) -> Desk:
        self.open(ts=ts)
        self.status("connected", ts=ts)
        self.status("auth_success", ts=ts)
        return self

    def sent(self) -> list[dict[str, str]]:
        actions, self.actions = self.actions, []
        return [json.loads(each.payload) for each in actions if isinstance(each, Send)]

    def feed(self, *frames: Any, ts: int = 0, name: str = "") -> list[Record]:
        return super().feed(*[json.dumps(each) if isinstance(each, list) else each for each in frames], ts=ts)


def trade(**fields: Any) -> dict[str, Any]:
    return {"ev": "T", "sym": "MSFT", "x": 4, "i": "7", "z": 3, "p": 1.5, "s": 10, "c": [0], "t": TIME, "q": 9} | fields


def quote(**fields: Any) -> dict[str, Any]:
    base = {"ev": "Q", "sym": "MSFT", "bx": 4, "bp": 1.5, "bs": 2, "ax": 7, "ap": 1.75, "as": 1, "c": 0, "i": [604]}
    return base | {"t": TIME, "q": 5, "z": 3} | fields


def compact(*events: dict[str, Any]) -> str:
    return json.dumps(events, separators=(",", ":"))
