"""The addresses of sockets that are open to clients."""

from __future__ import annotations

import pytest
import zmq
from plant_process import free_port
from publisher_pair import ROWS, Pair

from tickplant.engine.publisher import Publisher
from tickplant.engine.router import Router
from tickplant.errors import ConfigError
from tickplant.runtime.client_sockets import check_exposed


def test_an_address_in_use_is_named(pair: Pair) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    holder = pair.context.socket(zmq.PUB)
    holder.bind(address)
    with pytest.raises(ConfigError, match=f"{address}: is already in use"):
        Publisher(pair.context, address, ROWS.__getitem__)
    with pytest.raises(ConfigError, match=f"{address}: is already in use"):
        Router(pair.context, address, pair.publisher, {"book": pair.books.snapshot})
    holder.close(0)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tcp://localhost:1", "tcp://[::1]:1", "ipc:///tmp/x"])
def test_an_address_of_this_machine_needs_nothing(address: str) -> None:
    check_exposed(address, insecure=False)


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:1", "tcp://*:1", "tcp://192.0.2.1:1", "tcp://host.example:1"])
def test_an_address_that_others_reach_must_be_wanted(address: str) -> None:
    check_exposed(address, insecure=True)
    with pytest.raises(ConfigError, match="insecure = true"):
        check_exposed(address, insecure=False)
