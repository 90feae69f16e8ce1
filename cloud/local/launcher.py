"""Runs MiniStack with four of its gaps closed from outside. It ends when its parent ends.

1. Its MQTT port binds all interfaces: here everything binds 127.0.0.1.
2. Its rules act as the account's root: here an SQS action acts as the rule's role, so the queue's policy is enforced.
3. Policies that require TLS (`aws:SecureTransport`) refuse its plain HTTP gateway: here loopback counts as TLS.
4. It makes its TLS context when the first device connects. On Python before 3.11.3 it then loses the device's first
   bytes, which delays the device by 10 s: here the context is made before any device connects.

Standard input is a pipe from the parent: at end of file, however the parent ended, this process ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable
from typing import Any

LOOPBACK = "127.0.0.1"
ALL_INTERFACES = "0.0.0.0"  # noqa: S104 - replaced below


def _bind_loopback_only() -> None:
    create_server: Callable[..., Any] = BaseEventLoop.create_server

    async def create_server_on_loopback(self: BaseEventLoop, *args: object, **options: object) -> asyncio.Server:
        if options.get("host") == ALL_INTERFACES:
            options["host"] = LOOPBACK
        server: asyncio.Server = await create_server(self, *args, **options)
        return server

    BaseEventLoop.create_server = create_server_on_loopback  # type: ignore[method-assign]


def _act_as_role_of_rule() -> None:
    from ministack.core import iam_evaluator  # noqa: PLC0415 - heavy, and only the extra `local` brings it
    from ministack.services import iot  # noqa: PLC0415

    dispatch = iot._dispatch_rule_sqs  # noqa: SLF001 - there is no public function for it

    def dispatch_as_role(account: str, region: str, rule: str, spec: dict[str, Any], event: object) -> None:
        caller = iam_evaluator._request_caller_arn.set(spec["roleArn"])  # noqa: SLF001
        origin = iam_evaluator._request_origin.set((LOOPBACK, True))  # noqa: SLF001
        try:
            dispatch(account, region, rule, spec, event)
        finally:
            iam_evaluator._request_origin.reset(origin)  # noqa: SLF001
            iam_evaluator._request_caller_arn.reset(caller)  # noqa: SLF001

    iot._dispatch_rule_sqs = dispatch_as_role  # noqa: SLF001


def _count_loopback_as_tls() -> None:
    from ministack import app  # noqa: PLC0415
    from ministack.core import iam_evaluator  # noqa: PLC0415

    pin = iam_evaluator.pin_request_origin
    app.pin_request_origin = lambda address, _secure: pin(address, address == LOOPBACK)


def _make_tls_context_early() -> None:
    from ministack.services import iot  # noqa: PLC0415

    start = iot.mtls_start

    async def start_with_context() -> None:
        await start()
        await iot._mtls_context()  # noqa: SLF001 - as above

    iot.mtls_start = start_with_context


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Like the command `ministack`."""
    from ministack.app import main as ministack  # noqa: PLC0415

    _bind_loopback_only()
    _act_as_role_of_rule()
    _count_loopback_as_tls()
    _make_tls_context_early()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    ministack()


if __name__ == "__main__":
    main()
