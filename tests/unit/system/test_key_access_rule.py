"""The rule for access to the key file, over all modes; the daemon, `check-config` and the documents follow it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.adapters.system.key_access import look_at_key_file, look_at_own_key
from agent.core.system.key_access_rule import judge_key_file

OWNER_UID = 990


def severity(mode: int) -> str | None:
    found = judge_key_file("/k", mode, OWNER_UID)
    return None if found is None else found.severity


def test_all_modes() -> None:
    """A mode's last octal digit is the others' access, the one before it the group's."""
    for mode in range(0o1000):
        _owner, group, others = f"{mode:03o}"
        assert severity(mode) == ("error" if others != "0" else "warning" if group != "0" else None), f"{mode:04o}"


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o600, None), (0o400, None), (0o000, None), (0o700, None),
        (0o640, "warning"), (0o660, "warning"), (0o620, "warning"), (0o610, "warning"), (0o440, "warning"),
        (0o644, "error"), (0o604, "error"), (0o602, "error"), (0o601, "error"), (0o666, "error"), (0o777, "error"),
    ],
)  # fmt: skip
def test_modes_as_people_set_them(mode: int, expected: str | None) -> None:
    assert severity(mode) == expected


def test_bits_that_are_nobodys_access_change_nothing() -> None:
    assert severity(0o7600) is None
    found = judge_key_file("/k", 0o7640, OWNER_UID)
    assert found is not None
    assert "mode 0640" in found.cause


def test_the_words_name_file_mode_who_and_the_next_step() -> None:
    others, group = judge_key_file("/etc/k.pem", 0o604, OWNER_UID), judge_key_file("/my key", 0o640, OWNER_UID)
    assert others is not None
    assert group is not None
    assert others.text == (
        '"/etc/k.pem" has mode 0604, so every user of this machine has access to the private key; '
        "run: chmod 600 /etc/k.pem"
    )
    assert group.text == (
        "\"/my key\" has mode 0640, so the file's group has access to the private key; run: chmod 600 '/my key'"
    )


@pytest.mark.parametrize(
    ("owner_uid", "daemon_uid", "chown"),
    [
        (OWNER_UID, OWNER_UID, False),
        (0, OWNER_UID, True),
        (0, 0, False),
        (OWNER_UID, None, False),
        (0, None, True),
    ],
)
def test_a_file_that_the_daemon_reads_through_its_group_is_given_to_it(
    owner_uid: int, daemon_uid: int | None, *, chown: bool
) -> None:
    """After `chmod 600` alone the daemon could not read it."""
    found = judge_key_file("/k", 0o640, owner_uid, daemon_uid)
    assert found is not None
    given = "give it to the daemon's user: chown USER /k && chmod 600 /k"
    assert found.next_step == (given if chown else "run: chmod 600 /k")


def test_credentials_of_systemd_are_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "device.key"
    key.touch(0o600)
    key.chmod(0o644)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert look_at_key_file(key) is not None
    assert look_at_own_key("credential:device.key") is None, "there is none"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert look_at_own_key("credential:device.key") is None
    assert look_at_key_file(key) is None
    assert look_at_own_key(str(tmp_path / "gone" / "device.key")) is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "other"))
    assert look_at_own_key(str(key)) is not None
