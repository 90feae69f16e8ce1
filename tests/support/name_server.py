"""What a name server answers, played."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest


def answer_names(monkeypatch: pytest.MonkeyPatch, ask: Callable[[], list[Any]]) -> None:
    """Have every name take as long to be resolved as `ask` does; its answer is as that of `socket.getaddrinfo`.

    A name that was to be an address is refused at once, as the C library does it.
    """

    def getaddrinfo(host: str, _port: int, *, flags: int = 0, **_options: object) -> list[Any]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, f"{host} is no address")
        return ask()

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
