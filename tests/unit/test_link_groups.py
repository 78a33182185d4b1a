"""Links that carry the same streams, and links that are opened for symbols that were added later."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tickplant.feeds.contract import LinkSpec, Open, Send
from tickplant.feeds.kit.subscriptions import BUSY, Stream, Subscriptions


class Codec:
    """Words that a test can read."""

    streams_per_request = 10
    busy: Collection[str] = BUSY

    def name(self, stream: Stream) -> str:
        return f"{stream.channel} {stream.symbol}"

    def group(self, stream: Stream) -> str:
        return stream.channel

    def request(self, streams: Sequence[Stream], request: int, *, subscribe: bool) -> bytes:
        del request
        return f"{subscribe} {' '.join(map(self.name, streams))}".encode()


def test_links_for_added_symbols_hide_their_requests_as_the_first_one_does() -> None:
    spec = LinkSpec(name="orders", url="wss://venue", max_age_s=100.0)
    links = [(spec, [Stream("A", "trade")])]
    found = Subscriptions(links, Codec(), symbols_per_link=2, secret=["orders"])
    found.prepare(["A"], 2)
    assert [*found.links] == ["orders", "orders~2"]
    assert [link.spec.age_share for link in found.links.values()] == [1.0, 0.75]
    assert found.add("B", 0) == []  # nothing is open, and there is room
    opened = found.add("C", 0)
    assert [effect.link.name for effect in opened if isinstance(effect, Open)] == ["orders-2", "orders-2~2"]
    for link in found.links.values():
        link.sockets = 1
        (send,) = found.subscribe(link, 0)
        assert send.secret
        assert send.payload in (b"True trade A trade B", b"True trade C")
    sends = found.add("D", 0)
    assert sends == [Send(name, b"True trade D", secret=True) for name in ("orders-2", "orders-2~2")]
    assert not found.is_acknowledged("D")
    ends = found.remove("D", 0)
    assert ends == [Send(name, b"False trade D", secret=True) for name in ("orders-2", "orders-2~2")]
    assert found.is_acknowledged("D")  # there is nothing to acknowledge
