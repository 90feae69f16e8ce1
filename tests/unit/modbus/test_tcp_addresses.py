"""A gateway with several addresses, of which one leads nowhere."""

from __future__ import annotations

import asyncio
import socket

import pytest
from name_server import answer_names
from virtual_time import run_virtual

from drivers.lookup import Lookup, SocketAddress
from drivers.meter import MeterError
from drivers.port import TcpPort

DEAD, ALIVE = ("2001:db8::1", 502, 0, 0), ("192.0.2.1", 502)


class Deaf:
    """Nobody listens to the port in these tests."""

    def received(self, data: bytes) -> None: ...
    def lost(self, cause: str) -> None: ...


def test_an_address_that_swallows_everything_does_not_keep_the_others_from_being_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as that of IPv6, where the name server knows it and the network does not carry it."""
    tried: list[SocketAddress] = []

    async def addresses(_lookup: Lookup) -> tuple[SocketAddress, ...]:
        return DEAD, ALIVE

    async def go() -> None:
        loop = asyncio.get_running_loop()

        async def connect(_connection: socket.socket, address: SocketAddress) -> None:
            tried.append(address)
            if address == DEAD:
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


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", ("192.0.2.1", 502)),
        ("2001:db8::1", ("2001:db8::1", 502, 0, 0)),
        ("fe80::1%lo", ("fe80::1", 502, 0, socket.if_nametoindex("lo"))),
        ("fe80::1%1", ("fe80::1", 502, 0, 1)),
    ],
)
def test_an_address_is_not_looked_up_and_keeps_its_scope(
    host: str, address: SocketAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lookup, "_look_up", None)
    assert asyncio.run(Lookup(host, 502).addresses()) == (address,)


def test_a_name_keeps_all_its_addresses_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    link_local = ("fe80::1", 502, 0, 3)
    found = ((socket.AF_INET6, DEAD), (socket.AF_INET6, link_local), (socket.AF_INET, ALIVE), (socket.AF_INET, ALIVE))
    answer_names(monkeypatch, lambda: [(family, socket.SOCK_STREAM, 6, "", address) for family, address in found])
    assert asyncio.run(Lookup("gateway.example", 502).addresses()) == (DEAD, link_local, ALIVE)


def test_an_interface_that_is_not_there_is_an_unknown_host() -> None:
    async def go() -> None:
        with pytest.raises(MeterError, match="unknown host name"):
            await TcpPort("gateway", "tcp://[fe80::1%nowhere]:502").open(Deaf(), 5)

    asyncio.run(go())
