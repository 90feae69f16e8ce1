"""A gateway with several addresses, of which one leads nowhere."""

from __future__ import annotations

import asyncio
import socket

import pytest
from virtual_time import run_virtual

from drivers.lookup import Lookup
from drivers.meter import MeterError
from drivers.port import TcpPort

DEAD, ALIVE = "2001:db8::1", "192.0.2.1"


class Deaf:
    """Nobody listens to the port in these tests."""

    def received(self, data: bytes) -> None: ...
    def lost(self, cause: str) -> None: ...


def test_an_address_that_swallows_everything_does_not_keep_the_others_from_being_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as that of IPv6, where the name server knows it and the network does not carry it."""
    tried: list[str] = []

    async def addresses(_lookup: Lookup) -> tuple[str, ...]:
        return DEAD, ALIVE

    async def go() -> None:
        loop = asyncio.get_running_loop()

        async def connect(_connection: socket.socket, address: tuple[str, int]) -> None:
            tried.append(address[0])
            if address[0] == DEAD:
                await asyncio.sleep(3600)

        monkeypatch.setattr(loop, "sock_connect", connect)
        port = TcpPort("gateway", "tcp://gateway.example:502")
        with pytest.raises(MeterError, match="no answer within"):
            await port.open(Deaf(), 1)
        await port.open(Deaf(), 1)
        assert port.is_open
        port.close()  # as after a loss
        await port.open(Deaf(), 1)
        port.close()

    monkeypatch.setattr(Lookup, "addresses", addresses)
    run_virtual(go())
    assert tried == [DEAD, ALIVE, ALIVE]
