"""A venue that wants a key, in a message and in a request, and repeats it in its answers: the worst that one can do."""

from __future__ import annotations

import msgspec

from tickplant.feeds.contract import Answer, Fail, Request, Send
from tickplant.feeds.kit.subscriptions import Link
from tickplant.feeds.venues._template.adapter import ExampleAdapter


class KeyedAdapter(ExampleAdapter):
    """As the template's venue, behind an authentication."""

    def __init__(self, context):
        super().__init__(context)
        self.venue = "keyed"
        self._secrets = context.secrets

    def start(self, now_ns: int) -> None:
        """With a request that has the key in its address and in a header."""
        super().start(now_ns)
        key = self._secrets["key"]
        self.effects.append(Request("token", f"/token?user={key}", headers={"X-User": key}, secret=True))
        self.effects.append(Request("public", f"/public?user={key}"))

    def opened(self, link: Link, now_ns: int) -> None:
        """The key first."""
        payload = msgspec.json.encode({"op": "auth", "user": self._secrets["key"], "id": 0})
        self.effects.append(Send(link.spec.name, payload, secret=True))
        super().opened(link, now_ns)

    def read(self, frame: bytes, ts_recv: int) -> bool:
        """A refusal of the key ends the feed, with the venue's own words."""
        if frame.startswith(b'{"type": "denied"'):
            self.effects.append(Fail(f"the venue says {frame.decode()}"))
            return False
        return super().read(frame, ts_recv)

    def answered(self, answer: Answer, now_ns: int) -> None:
        """Its body is no message."""
        del answer, now_ns
        self.counts.frames += 1
        self.counts.ignored += 1
