"""What a receiver could not take is taken by its successor, once, and the box is told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent.cli.main import cli
from cloud.ingest import examine as examine_module
from cloud.ingest.ingest import ingest
from cloud.ingest.outcome import IngestStatus
from cloud.ports import Stores
from cloud.stores.export import readings
from cloud.stores.sqlite.lock import StoreLock
from wire.batch import Batch
from wire.errors import WireError


@pytest.fixture
def where(request: pytest.FixtureRequest, stores: Stores, tmp_path: Path) -> list[str]:
    """The options that name `stores`."""
    if "sqlite" in request.node.name:
        return ["--store", str(tmp_path / "store")]
    folder = Path(request.getfixturevalue("connection").cert).parents[1]
    return ["--local", str(folder)]


def retry(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["cloud", "retry-held", *arguments])


def of_an_old_receiver(_data: bytes) -> Batch:
    raise WireError("format version 9, this reader knows 1")


def test_after_an_update_held_batches_are_stored_once_and_confirmed(
    stores: Stores, box: Any, where: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    conflict = box.message(1, 3, salt=9)
    ingest([box.message(1, 3)], stores)
    with monkeypatch.context() as before:
        before.setattr(examine_module, "decode", of_an_old_receiver)
        held = ingest([box.message(4, 6), box.message(7, 9)], stores)
        assert [outcome.status for outcome in held.outcomes] == [IngestStatus.HELD, IngestStatus.HELD]
    ingest([conflict], stores)
    only = [*where, "--device", box.device, "--json"]
    result = retry(*only)
    assert result.exit_code == 0, result.output
    done = json.loads(result.output)
    assert (done["tried"], done["stored"], done["held"]) == (3, 2, 1)
    assert done["reasons"] == {"conflict: other content is stored under these record numbers": 1}
    assert [one["seq"] for one in readings(stores, box.device)] == list(range(1, 10))
    (answer,) = ingest([box.message(10, 10, confirm=True)], stores).receipts
    assert answer.receipt.through == 10
    assert [held[:2] for held in answer.receipt.held] == [(1, 3)]
    again = json.loads(retry(*only).output)
    assert (again["resend"], again["held"]) == (2, 1), "and doing it again changes nothing"


def test_a_store_in_use_is_left_alone(sqlite_stores: Stores, tmp_path: Path) -> None:
    lock = StoreLock(tmp_path / "store")
    result = retry("--store", str(tmp_path / "store"))
    lock.close()
    assert result.exit_code == os.EX_UNAVAILABLE
    assert "another receiver is using it" in result.output
    empty = retry("--store", str(tmp_path / "store"))
    assert (empty.exit_code, empty.output) == (0, "the quarantine is empty\n")


@pytest.mark.parametrize("options", [[], ["--table", "t"], ["--store", ".", "--local", "."]], ids=str)
def test_one_store_must_be_named(options: list[str]) -> None:
    assert "give one of --store DIR, --local DIR, and --table with --bucket" in retry(*options).output
