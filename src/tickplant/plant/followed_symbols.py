"""Which symbols each feed of a plant records: the configured ones, minus those removed, plus those added.

Changes by `tickplant symbols` are kept in `symbols.json` of the data directory, so that a feed and the plant restart
with the symbols they ended with. The configuration stays as its author wrote it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from tickplant.errors import ConfigError
from tickplant.plant.durable_file import write_durably
from tickplant.runtime.config import Config, FeedConfig
from tickplant.runtime.control import FeedSymbols
from tickplant.venues import find_venue

FILE: Final = "symbols.json"
MOST: Final = 100_000
"""Limit for the symbols of one feed: more are a mistake."""


class _Change(msgspec.Struct):
    """The changes of one feed. They apply only while the feed has this venue."""

    venue: str
    added: list[str] = []
    removed: list[str] = []


class FollowedSymbols:
    """The symbols of one plant."""

    def __init__(self, config: Config) -> None:
        """Raises ConfigError if the file cannot be read, or leaves a feed without symbols."""
        self._feeds = config.feeds
        self._engines = [engine.feeds or tuple(config.feeds) for engine in config.engines.values()]
        self._sims = config.sims
        self._path = config.data_dir / FILE
        self._changes = self._load()
        for name in config.feeds:
            if not self.of(name):
                raise ConfigError(
                    f"every symbol of feeds.{name} was removed while it ran: take {name} from this file",
                    file=str(self._path),
                )

    def _load(self) -> dict[str, _Change]:
        try:
            changes = msgspec.json.decode(self._path.read_bytes(), type=dict[str, _Change])
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=str(self._path)) from None
        except msgspec.DecodeError as error:
            raise ConfigError(f"is not what `tickplant symbols` has written: {error}", file=str(self._path)) from None
        return {
            name: change
            for name, change in changes.items()
            if name in self._feeds and change.venue == self._feeds[name].venue
        }

    def of(self, feed: str) -> tuple[str, ...]:
        """The symbols that a feed records."""
        configured = self._feeds[feed].symbols
        if (change := self._changes.get(feed)) is None:
            return configured
        kept = [symbol for symbol in configured if symbol not in change.removed]
        return tuple(dict.fromkeys([*kept, *change.added]))

    def ever(self, feed: str) -> tuple[str, ...]:
        """The feed's symbols and those removed: all that the store may hold of the feed."""
        return tuple(dict.fromkeys([*self.of(feed), *self._feeds[feed].symbols]))

    def config_of(self, feed: str) -> FeedConfig:
        """The configuration of a feed, with the symbols that it records."""
        return msgspec.structs.replace(self._feeds[feed], symbols=self.of(feed))

    def report(self) -> dict[str, FeedSymbols]:
        """The symbols by feed, for `status`."""
        none = _Change("")
        return {
            name: FeedSymbols(list(self.of(name)), list(change.added), list(change.removed))
            for name in self._feeds
            for change in [self._changes.get(name, none)]
        }

    def are_alone(self, feeds: Iterable[str]) -> bool:
        """Whether each instrument of these feeds belongs to only one of them."""
        series = [(self._feeds[feed].venue, symbol) for feed in feeds for symbol in self.of(feed)]
        return len(set(series)) == len(series)

    def why_not(self, feed: str, added: Sequence[str], removed: Sequence[str]) -> str:
        """Why a change cannot be made; empty if it can."""
        if feed not in self._feeds:
            return f"no feed is named {feed}; the feeds are {', '.join(self._feeds)}"
        if find_venue(self._feeds[feed].venue).fixed_symbols:
            return f"a feed of {self._feeds[feed].venue} keeps the symbols it begins with: change the configuration"
        now = self.of(feed)
        for symbol in added:
            if why := self._why_not_add(feed, symbol, now):
                return why
        if unknown := [symbol for symbol in removed if symbol not in now]:
            return f"{feed} has no symbol {unknown[0]}; it has {', '.join(now[:20])}{', …' if len(now) > 20 else ''}"
        if not set(now) - set(removed):
            return f"{feed} would have no symbol left: take the feed from the configuration instead"
        if len(now) + len(added) > MOST:
            return f"{feed} would have more than {MOST:,} symbols"
        return ""

    def _why_not_add(self, feed: str, symbol: str, now: Collection[str]) -> str:
        config = self._feeds[feed]
        if why := find_venue(config.venue).why_not(symbol):
            return f"{config.venue}: {why}"
        if symbol in now:
            return f"{feed} records {symbol} already"
        sim = self._sims.get(config.sim)
        if sim is not None and not sim.recording and symbol not in sim.symbols:
            return f"[sims.{config.sim}] does not have {symbol}: it has {', '.join(sim.symbols)}"
        for feeds in self._engines:
            # If two feeds of an engine carry an instrument, the engine cannot resume after a restart.
            others = [name for name in feeds if name != feed and self._feeds[name].venue == config.venue]
            if feed in feeds and self.are_alone(feeds) and any(symbol in self.of(name) for name in others):
                name = next(name for name in others if symbol in self.of(name))
                return f"{name}, which has the same engine, records {symbol} already"
        return ""

    def keep(self, feed: str, symbol: str, *, added: bool) -> None:
        """Keep for the next start, too, that a feed records a symbol, or no longer does. Raises OSError."""
        config = self._feeds[feed]
        change = self._changes.setdefault(feed, _Change(config.venue))
        change.added = [each for each in change.added if each != symbol]
        change.removed = [each for each in change.removed if each != symbol]
        if added and symbol not in config.symbols:
            change.added.append(symbol)
        elif not added and symbol in config.symbols:
            change.removed.append(symbol)
        kept = {name: each for name, each in self._changes.items() if each.added or each.removed}
        write_durably(self._path, msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")
