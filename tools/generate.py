"""Write the files that are made from code, or with `--check` say which of them are not current."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.settings.model import AgentFile
from drivers.profile_schema import json_schema as profile_schema

ROOT = Path(__file__).parent.parent


def agent_schema() -> dict[str, object]:
    """The JSON schema of agent.toml, for editors (Even Better TOML, taplo); `check-config` checks more."""
    schema = msgspec.json.schema(AgentFile)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "wattpost agent.toml", **schema}


def as_text(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


CONTENT_BY_FILE: dict[str, Callable[[], str]] = {
    "config/agent.schema.json": lambda: as_text(agent_schema()),
    "config/profile.schema.json": lambda: as_text(profile_schema()),
}


def main() -> None:
    stale = [name for name, content in CONTENT_BY_FILE.items() if read(ROOT / name) != content()]
    if "--check" in sys.argv[1:]:
        if stale:
            raise SystemExit(f"not current: {', '.join(stale)}; run: make generate")
        print(f"{len(CONTENT_BY_FILE)} generated files are current")
        return
    for name in stale:
        (ROOT / name).write_text(CONTENT_BY_FILE[name]())
        print(f"{name}: written")


def read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    main()
