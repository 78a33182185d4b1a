"""The login of Polygon: greeting, key, the venue's answers, and when to stay away. Pure.

opened ──"connected"──> key sent ──"auth_success"──> in
└── nothing for LOGIN_S ──> another connection ──┘ nothing for LOGIN_S ──> another connection
"""

from __future__ import annotations

import msgspec

from tickplant.feeds.contract import Effect, Fail, Hold, Notice, Resubscribe, Send
from tickplant.feeds.kit.request_budget import SECOND_NS
from tickplant.feeds.venues.polygon import venue as facts


class Login:
    """The login of one link. Methods return effects for the runner."""

    def __init__(self, venue: str, key: str, link: str) -> None:
        self.since_ns = 0  # when the venue accepted the login; 0: not yet
        self._venue = venue
        self._key = key
        self._link = link
        self._is_sent = False
        self._deadline_ns = 0  # of the greeting, then of the answer; 0: nothing is awaited
        self._rests = 0  # consecutive

    def opened(self, now_ns: int) -> None:
        """Await the greeting on a socket that is up."""
        self.since_ns, self._is_sent = 0, False
        self._deadline_ns = now_ns + int(facts.LOGIN_S * SECOND_NS)

    def greeted(self) -> list[Effect]:
        """Send the key, once."""
        if not (self._key and self._deadline_ns) or self._is_sent:
            return []
        self._is_sent = True
        payload = msgspec.json.encode({"action": "auth", "params": self._key})
        return [Send(self._link, payload, secret=True)]

    def late(self, now_ns: int) -> list[Effect]:
        """Replace a connection whose login was not answered in time."""
        if not self._deadline_ns or now_ns < self._deadline_ns:
            return []
        self._deadline_ns = 0
        what = "login" if self._is_sent else "connection: no greeting"
        return [Resubscribe(self._link, f"no answer to the {what}")]

    def lets_in(self, word: str, now_ns: int) -> bool:
        """Whether this status is the venue's first consent."""
        if word != "auth_success" or not self._is_sent or self.since_ns:
            return False
        self.since_ns, self._deadline_ns = now_ns, 0
        return True

    def follow(self, word: str, text: str, now_ns: int) -> list[Effect]:
        """What follows from any other status."""
        text = text[:200]
        if word == "auth_failed":
            return [self.fail(f"the venue refuses the key of the credential: {text}")]
        if word in ("max_connections", "force_disconnect"):
            return [self._rest(word, text, now_ns)]
        if word in ("slow_consumer", "auth_timeout", "auth_required"):
            return [Resubscribe(self._link, f"{word}: {text}")]
        return [] if word == "auth_success" else [Notice("venue status", {"status": word[:64], "message": text})]

    def fail(self, reason: str) -> Fail:
        """End the feed: the configuration cannot work."""
        return Fail(f"{self._venue}: {reason}")

    def _rest(self, word: str, text: str, now_ns: int) -> Effect:
        """Rest, since another connection uses the key: an immediate return would displace that one in turn."""
        if self.since_ns and now_ns - self.since_ns > facts.CALM_S * SECOND_NS:
            self._rests = 0
        self._deadline_ns = 0
        if self._rests == len(facts.PAUSES_S):
            return self.fail(f"{word}: another connection uses this key again and again; one per market is allowed")
        pause_s = facts.PAUSES_S[self._rests]
        self._rests += 1
        return Hold(self._link, now_ns + pause_s * SECOND_NS, f"{word}: {text}")
