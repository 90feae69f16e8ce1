"""`wattpost demo` before it starts anything."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from agent.cli import demo


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(_scenario: object, *, plain: bool) -> int:
        return os.EX_OK

    monkeypatch.setattr(demo, "_run", run)


def test_a_folder_with_somebodys_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    result = CliRunner().invoke(demo.command, ["--dir", str(tmp_path)])
    assert result.exit_code == click.UsageError.exit_code
    assert "name a new folder" in result.output
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_what_an_earlier_demo_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / demo.EARLIER_DEMO).touch()
    (tmp_path / "buffer.db").write_text("old")
    assert CliRunner().invoke(demo.command, ["--dir", str(tmp_path)]).exit_code == os.EX_OK
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(demo.command, ["--dir", str(tmp_path / "file" / "demo")])
    assert result.exit_code == os.EX_CANTCREAT
    assert "name another --dir" in result.output
