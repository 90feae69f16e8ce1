from __future__ import annotations

import base64
import json
import os
import sys
import textwrap
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from agent.cli.batch import files as batchfile
from agent.cli.batch.decode import command as decode_command
from agent.cli.batch.encode import command as encode_command
from agent.cli.main import main
from wire.codec import encode
from wire.document import from_document, to_document

DOCUMENT = {
    "device": "apt-1",
    "epoch": "0011223344556677",
    "readings": [
        {"meter": "main", "at": "2026-01-31T12:00:00Z", "values": {"voltage_l1_n": 230.4, "own": None}},
        {
            "meter": "main",
            "at": "2026-01-31T12:00:01.5Z",
            "values": {"voltage_l1_n": 231, "own": 0.25},
            "quality": {"own": ["jump", "stale"]},
        },
    ],
}
DATA = encode(from_document(DOCUMENT))
CSV = """\
seq,meter,at,mono_ms,voltage_l1_n,own,quality
1,main,2026-01-31T12:00:00.000Z,1769860800000,230.4,,
2,main,2026-01-31T12:00:01.500Z,1769860801500,231.0,0.25,own=jump+stale
"""


def run(command: click.Command, *args: str, stdin: bytes | str = b"") -> Result:
    return CliRunner().invoke(command, args, input=stdin)


def run_csv(text: str) -> Result:
    return run(encode_command, "--csv", "--device", "apt-1", "--epoch", "0011223344556677", stdin=text)


@pytest.mark.parametrize(
    "data",
    [DATA, DATA.hex().encode(), base64.encodebytes(DATA), "\n".join(textwrap.wrap(DATA.hex().upper(), 60)).encode()],
)
def test_decode_prints_the_document(data: bytes) -> None:
    result = run(decode_command, stdin=data)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == to_document(from_document(DOCUMENT))


def test_decode_prints_csv(tmp_path: Path) -> None:
    (tmp_path / "batch.wpb").write_bytes(DATA)
    assert run(decode_command, "--csv", str(tmp_path / "batch.wpb")).stdout == CSV


def test_encode_is_the_inverse_of_decode(tmp_path: Path) -> None:
    document = run(decode_command, "--json", stdin=DATA).stdout
    assert run(encode_command, stdin=document).stdout_bytes == DATA
    out = tmp_path / "batch.wpb"
    assert run(encode_command, "-o", str(out), stdin=document).exit_code == 0
    assert out.read_bytes() == DATA


def test_decode_writes_large_whole_numbers_as_text_and_encode_reads_them() -> None:
    large, seq = 7_120_867_707_683_263_389, 2**60 + 1
    document = {
        "device": "apt-1",
        "epoch": "0011223344556677",
        "readings": [{"seq": seq, "meter": "main", "at": "2026-01-31T12:00:00Z", "values": {"x": large}}],
        "events": [{"at": "2026-01-31T12:00:00Z", "kind": "x", "data": {"n": large}}],
    }
    data = run(encode_command, stdin=json.dumps(document)).stdout_bytes
    text = run(decode_command, stdin=data).stdout
    assert max(abs(number) for number in whole_numbers(text)) < 2**53
    said = json.loads(text)
    assert (said["first"], said["readings"][0]["seq"], said["last"]) == (str(seq), str(seq), str(seq + 1))
    assert said["readings"][0]["values"] == {"x": str(large)}
    assert said["events"][0]["data"] == {"n": str(large)}
    assert run(encode_command, stdin=text).stdout_bytes == data
    line = run(decode_command, "--csv", stdin=data).stdout.splitlines()[1]
    assert line == f"{seq},main,2026-01-31T12:00:00.000Z,1769860800000,{large},"


def whole_numbers(text: str) -> list[int]:
    found: list[int] = []
    json.loads(text, parse_int=lambda digits: found.append(int(digits)))
    return found


def test_encode_reads_what_decode_writes_as_csv() -> None:
    assert run_csv(CSV).stdout_bytes == DATA
    without_numbers = "\n".join(line.partition(",")[2] for line in CSV.splitlines())
    assert run_csv(without_numbers).stdout_bytes == DATA


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("meter,at,x\nm,2026-01-31T12:00:00Z,1,2\n", "line 2: more fields than the first line names"),
        ("meter,x\nm,1\n", "line 1: no column at"),
        ("x\n1\n", "line 1: no column meter and no column at"),
        ("", "line 1: no column meter and no column at"),
        ("meter,at,x\n", "no reading in it"),
        ("meter,at,x\nm,,1\n", "line 2: at missing"),
        ("seq,meter,at\n-1,m,2026-01-31T12:00:00Z\n", "line 2: seq '-1' is not a whole number"),
        ("meter,at,quality\nm,2026-01-31T12:00:00Z,bad\n", "line 2: quality 'bad' is not measurand=flag+flag"),
        ('meter,at\n"m"x,2026-01-31T12:00:00Z\n', "line 2: ',' expected after"),
    ],
)
def test_csv_with_a_mistake_names_the_line(text: str, problem: str) -> None:
    result = run_csv(text)
    assert result.exit_code == os.EX_DATAERR
    assert problem in result.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--csv", "--device", "apt-1", "--epoch", "zz"), "--epoch: 'zz' is not 16 hexadecimal digits"),
        (("--csv", "--device", "apt-1", "--epoch", "0011"), "--epoch: '0011' is not 16 hexadecimal digits"),
        (
            ("--csv", "--device", "apt 1", "--epoch", "0011223344556677"),
            "--device: device name 'apt 1' is not 1 to 128",
        ),
        (("--epoch", "0011223344556677"), "--epoch needs --csv; JSON contains it"),
    ],
)
def test_a_wrong_option_is_wrong_usage_and_not_the_fault_of_the_file(
    options: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "readings.csv").write_text(CSV)
    with pytest.raises(SystemExit) as caught:
        main(["encode", *options, str(tmp_path / "readings.csv"), "-o", str(tmp_path / "batch.wpb")])
    assert caught.value.code == os.EX_USAGE
    error = capsys.readouterr().err
    assert says in error
    assert "readings.csv" not in error


@pytest.mark.parametrize("command", [decode_command, encode_command])
def test_input_that_is_not_there_exits_66(command: click.Command, tmp_path: Path) -> None:
    result = run(command, str(tmp_path / "none"))
    assert result.exit_code == os.EX_NOINPUT
    assert result.stderr == f"Error: cannot read {tmp_path}/none: No such file or directory; check the path\n"


@pytest.mark.parametrize(
    ("command", "data", "problem"),
    [
        (decode_command, b"junk", "Error: standard input: not a batch: starts with 6a75"),
        (decode_command, b"575001xx", "starts like a batch in hexadecimal, but the rest is not hexadecimal"),
        (decode_command, b"V1AB*", "starts like a batch in base64, but the rest is not base64"),
        (encode_command, b"{", "Error: standard input: not JSON"),
        (encode_command, b"[" * 100_000, "Error: standard input: nested too deeply"),
        (encode_command, b"\xff", "Error: standard input: not UTF-8 text"),
        (encode_command, b'{"device": "a", "device": "b"}', "an object has the key 'device' twice"),
        (encode_command, b'{"readings": [{"values": {"x": 1, "x": 2}}]}', "an object has the key 'x' twice"),
        (encode_command, b'{"device": NaN}', "not JSON: NaN is not a number"),
        (encode_command, b'{"device": -Infinity}', "not JSON: -Infinity is not a number"),
        (encode_command, b"{}", "Error: standard input: device: missing, text is needed"),
    ],
)
def test_input_that_says_nothing_valid_exits_65_in_one_line(command: click.Command, data: bytes, problem: str) -> None:
    result = run(command, stdin=data)
    assert result.exit_code == os.EX_DATAERR
    assert result.stderr.startswith("Error: standard input: ")
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1


def test_input_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batchfile, "INPUT_BYTES_MAX", 1 << 20)
    result = run(decode_command, stdin=bytes(2 << 20))
    assert result.exit_code == os.EX_DATAERR
    assert "standard input is over 1 MiB: too large for a batch" in result.stderr


def test_output_that_cannot_be_written_exits_73(tmp_path: Path) -> None:
    result = run(encode_command, "-o", str(tmp_path / "no" / "x"), stdin=json.dumps(DOCUMENT))
    assert result.exit_code == os.EX_CANTCREAT
    assert "No such file or directory; choose another path" in result.stderr


def test_bytes_are_kept_off_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(click.UsageError, match="give -o FILE, or pipe it into a command"):
        encode_command.main(["x"], standalone_mode=False)


@pytest.mark.parametrize(
    ("command", "args"), [(decode_command, ["--json", "--csv"]), (encode_command, ["--csv", "--device", "x"])]
)
def test_options_that_do_not_go_together_are_refused(command: click.Command, args: list[str]) -> None:
    assert run(command, *args).exit_code == 2
