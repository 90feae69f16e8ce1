"""The receiver's zip: `python -m cloud.infra.package OUT.zip`. Same sources, same bytes. Lambda brings boto3."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "cloud" / "infra" / "template.json"
FOLDERS = ("core", "doors", "ingest", "stores")  # of `cloud`, with the modules of `cloud` itself
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time of a zip


def lambda_zip() -> bytes:
    """`wire`, and the folders of `cloud` that the function imports."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_sources()):
            entry = zipfile.ZipInfo(path.relative_to(ROOT).as_posix(), _EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return out.getvalue()


def _sources() -> Iterator[Path]:
    yield from (ROOT / "cloud").glob("*.py")
    yield from (ROOT / "wire").glob("*.py")
    for folder in FOLDERS:
        yield from (ROOT / "cloud" / folder).rglob("*.py")


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(lambda_zip())
