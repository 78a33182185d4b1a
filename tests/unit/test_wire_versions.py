"""Clients and engines of different wire versions, on real sockets: each says which side is older."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

import tickplant
from tickplant import wire
from tickplant.engine.publisher import Publisher
from tickplant.engine.router import Router
from tickplant.errors import SubscribeError
from tickplant.instruments import Instrument

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "wire-v1.json").read_text())


@contextmanager
def old_engine(address: str, replies: list[bytes]) -> Iterator[None]:
    """Answers requests with what an engine of version 1 answers."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stream, router = context.socket(zmq.XPUB), context.socket(zmq.ROUTER)
    stream.bind(address)
    router.bind(f"{address}.requests")

    def answer() -> None:
        for reply in replies:
            assert router.poll(90_000)
            identity, _ = router.recv_multipart()
            router.send_multipart([identity, reply])
        assert stream.poll(90_000)
        stream.recv()
        (message,) = GOLDEN["messages"]
        stream.send_multipart(
            [message["topic"].encode(), *(bytes.fromhex(message[frame]) for frame in ("header", "payload"))]
        )

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        stream.close(0)
        router.close(0)
        context.term()


def test_a_client_says_that_the_engine_which_answers_is_older(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/publish"
    with old_engine(address, [GOLDEN["replies"][0].encode()]), pytest.raises(SubscribeError) as told:
        tickplant.subscribe("binance", address=address)
    assert f"{address}.requests: the engine speaks wire version 1, this client version 2" in str(told.value)
    assert "the engine is the older side" in str(told.value)


def test_a_client_says_that_the_engine_which_it_hears_is_older(tmp_path: Path) -> None:
    """It was replaced by an older one while the client was subscribed."""
    address = f"ipc://{tmp_path}/publish"
    answer = wire.encode(wire.Topics(0, 1_700_000_000_000_001, []))
    with (
        old_engine(address, [answer]),
        tickplant.subscribe("binance", address=address) as messages,
        pytest.raises(SubscribeError, match=r"wire version 1, .*: the engine is the older side"),
    ):
        messages.receive(90.0)


@pytest.mark.parametrize("number", range(len(GOLDEN["requests"])))
def test_an_engine_answers_an_older_client_in_words_that_it_can_read(tmp_path: Path, number: int) -> None:
    request = GOLDEN["requests"][number]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = Publisher(context, f"ipc://{tmp_path}/publish", lambda id_: Instrument(id_, "venue", "X", 2, 8))
    router = Router(context, f"ipc://{tmp_path}/requests", publisher, {})
    dealer = context.socket(zmq.DEALER)
    try:
        dealer.connect(f"ipc://{tmp_path}/requests")
        dealer.send(request.encode())
        assert router.socket.poll(90_000)
        router.serve()
        assert dealer.poll(90_000)
        answer = json.loads(dealer.recv())
    finally:
        dealer.close(0)
        router.close(0)
        publisher.close(0)
        context.term()
    assert (answer["type"], answer["id"], answer["version"]) == ("refused", json.loads(request)["id"], 2)
    assert answer["reason"].startswith(
        "this engine speaks wire version 2, the request is of version 1: your client is the older side"
    )
