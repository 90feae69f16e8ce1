"""Write requirements/*.txt: every dependency pinned, with hashes, without the address it comes from.

The files fit Python 3.11 to 3.13 on x86_64 and aarch64. All of them share one resolution, that of the largest set.
"""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXTRAS_BY_SET = {
    "dev": ("dev",),  # first: the others take its pins
    "cloud": ("build", "cloud", "local"),
    "box": (),
}
NEVER_WRITTEN = ("://", "index-url", "find-links", "file:")


def main() -> None:
    for name, extras in EXTRAS_BY_SET.items():
        constraints = [] if name == "dev" else ["--constraint", "requirements/dev.txt"]
        compile_set(name, ["pyproject.toml", *constraints, *(f"--extra={extra}" for extra in extras)])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    compile_set("infra", ["-"], "\n".join(project["optional-dependencies"]["infra"]))  # without the box's dependencies


def compile_set(name: str, arguments: Sequence[str], stdin: str = "") -> None:
    command = ["uv", "pip", "compile", "--universal", "--python-version", "3.11", "--upgrade", "--generate-hashes"]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--no-header", "--no-annotate", *arguments]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, input=stdin).stdout
    for word in NEVER_WRITTEN:
        if word in text:
            raise SystemExit(f"requirements/{name}.txt would have {word!r} in it: run where no extra index is set")
    (ROOT / "requirements" / f"{name}.txt").write_text(text)
    print(f"requirements/{name}.txt: {text.count('==')} packages")


if __name__ == "__main__":
    main()
