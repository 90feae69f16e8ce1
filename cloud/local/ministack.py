"""MiniStack as a child process: environment, readiness, end. Nothing here is specific to Wattpost."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cloud.local.errors import LocalCloudError
from cloud.local.launcher import LOOPBACK

REGION = "eu-west-1"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.05
LOG_NAME = "ministack.log"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The root credentials of one MiniStack process, made at random for each start."""

    access_key_id: str
    secret_access_key: str


@dataclass(slots=True)
class MiniStack:
    """A running MiniStack: HTTP gateway and MQTT over TLS, both on the loopback interface."""

    process: subprocess.Popen[bytes]
    gateway_port: int
    mqtt_port: int
    credentials: Credentials
    log: Path

    @property
    def gateway_url(self) -> str:
        return f"http://{LOOPBACK}:{self.gateway_port}"

    def stop(self) -> None:
        """End the process and its children (its process group), and wait for it."""
        if self.process.stdin:
            self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_TIMEOUT_S)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start(folder: Path, gateway_port: int | None = None, mqtt_port: int | None = None) -> MiniStack:
    """Start it and wait until it serves. Its state is only in memory and ends with it."""
    scratch = folder / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    log = folder / LOG_NAME
    credentials = Credentials(f"AKIA{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30))
    gateway_port, mqtt_port = gateway_port or free_port(), mqtt_port or free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cloud.local.launcher"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(scratch, credentials, gateway_port, mqtt_port),
        )
    running = MiniStack(process, gateway_port, mqtt_port, credentials, log)
    try:
        _wait_until_ready(running)
    except BaseException:
        running.stop()
        raise
    return running


def _environment(scratch: Path, credentials: Credentials, gateway_port: int, mqtt_port: int) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MINISTACK_"))}
    return inherited | {
        "AUTH": "true",
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "BIND_HOST": LOOPBACK,
        "GATEWAY_PORT": str(gateway_port),
        "IOT_MTLS_ENABLED": "1",
        "IOT_MTLS_PORT": str(mqtt_port),
        "LAMBDA_EXECUTOR": "local",
        "MINISTACK_REGION": REGION,
        "PERSIST_STATE": "0",
        "SFTP_ENABLED": "0",
        "TMPDIR": str(scratch),
    }


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(running: MiniStack) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while (mqtt := _mqtt_state(running.gateway_port)) != "listening":
        if running.process.poll() is not None:
            raise LocalCloudError(
                f"start MiniStack: it ended with code {running.process.returncode}; see {running.log}"
                " (port taken? extra `local` not installed?)"
            )
        if mqtt in {"degraded", "disabled"}:
            raise LocalCloudError(
                f"start MiniStack: its MQTT port {running.mqtt_port} is {mqtt} (taken by another program?);"
                f" see {running.log}, or choose with --mqtt-port"
            )
        if time.monotonic() > deadline:
            raise LocalCloudError(f"start MiniStack: not ready after {START_TIMEOUT_S:.0f} s; see {running.log}")
        time.sleep(POLL_S)


def _mqtt_state(port: int) -> str:
    """`listening` when everything is ready: the MQTT port opens after the gateway. Empty while nothing answers."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", "/_ministack/ready")
        state: str = json.loads(connection.getresponse().read())["iot_mtls"]
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return ""
    else:
        return state
    finally:
        connection.close()
