"""`python -m cloud.infra.synth` writes `cloud/infra/template.json`; `--check` compares and changes nothing.

Needs the extra `infra` and node; nothing here talks to AWS.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import tempfile
from pathlib import Path

from aws_cdk import App, BootstraplessSynthesizer, Stack, Validations
from cdk_nag import AwsSolutionsChecks

from cloud.infra.package import TEMPLATE
from cloud.infra.stack import build

NAME = "Wattpost"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m cloud.infra.synth", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="compare with the committed template; exit 1 if it differs"
    )
    text = synthesised()
    if not parser.parse_args().check:
        TEMPLATE.write_text(text)
        return 0
    committed = TEMPLATE.read_text() if TEMPLATE.exists() else ""
    if committed == text:
        return 0
    diff = difflib.unified_diff(committed.splitlines(), text.splitlines(), str(TEMPLATE), "synthesised", lineterm="")
    sys.stderr.write("\n".join([*diff, f"{TEMPLATE} is not current: run `python -m cloud.infra.synth`", ""]))
    return 1


def synthesised() -> str:
    """The template as text, keys sorted."""
    with tempfile.TemporaryDirectory() as folder:
        app = App(outdir=folder, analytics_reporting=False)
        stack = Stack(
            app, NAME, synthesizer=BootstraplessSynthesizer(), description="Wattpost: batches of energy readings"
        )
        build(stack)
        Validations.of(app).add_plugins(AwsSolutionsChecks())
        app.synth()
        template = json.loads((Path(folder) / f"{NAME}.template.json").read_text())
    return json.dumps(template, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.exit(main())
