"""Who may write into a prefix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roles.walg.files.pgsafe_parts import identity
from roles.walg.files.pgsafe_parts.common import REFUSED, Config, PgsafeError

from .conftest import IDENTIFIER, OTHER, Walg

EMPTY = "type size last modified name\n"
FULL = EMPTY + "dir  0    0001-01-01 00:00:00 +0000 UTC     wal_005/  \n"


def backups(*identifiers: int) -> str:
    return json.dumps(
        [
            {
                "backup_name": f"base_{number}",
                "start_time": "2026-11-23T01:00:00Z",
                "finish_time": f"2026-11-23T02:0{number}:00Z",
                "system_identifier": identifier,
                "pg_version": 170011,
                "uncompressed_size": 1,
                "compressed_size": 1,
                "is_permanent": False,
            }
            for number, identifier in enumerate(identifiers)
        ]
    )


def test_an_empty_prefix_is_claimed(config: Config, walg: Walg) -> None:
    walg.has_no_identity(once=True)
    walg.answer("st", "ls", stdout=EMPTY)
    walg.answer("st", "put")
    walg.holds_identity()
    identity.ensure(config)
    assert walg.asked() == ["st cat", "st ls", "st put", "st cat"]
    assert walg.calls()[2]["arguments"][2:4] == ["--no-compress", "--no-encrypt"]
    assert identity.is_known(config)
    assert [path.name for path in Path(config.state).iterdir()] == ["identity.json"]


def test_who_claims_second_is_refused(config: Config, walg: Walg) -> None:
    """Between our look and our write another cluster wrote: what is read back decides."""
    walg.has_no_identity(once=True)
    walg.answer("st", "ls", stdout=EMPTY)
    walg.answer("st", "put")
    walg.holds_identity(OTHER)
    with pytest.raises(PgsafeError, match="belongs to another cluster") as caught:
        identity.ensure(config)
    assert caught.value.code == REFUSED
    assert not identity.is_known(config)


@pytest.mark.parametrize(
    ("listing", "catalogue", "adopt", "message"),
    [
        (FULL, backups(), False, "holds objects but no IDENTITY.json"),
        (FULL, backups(IDENTIFIER), False, "holds objects but no IDENTITY.json"),
        (FULL, backups(IDENTIFIER, OTHER), True, "backups of another cluster"),
    ],
)
def test_a_prefix_in_use_is_not_claimed(
    config: Config, walg: Walg, listing: str, catalogue: str, adopt: bool, message: str
) -> None:
    walg.has_no_identity()
    walg.answer("st", "ls", stdout=listing)
    walg.answer("backup-list", stdout=catalogue)
    with pytest.raises(PgsafeError, match=message):
        identity.verify(config, adopt=adopt)
    assert "st put" not in walg.asked()


def test_a_prefix_with_our_backups_can_be_adopted(config: Config, walg: Walg) -> None:
    walg.has_no_identity(once=True)
    walg.answer("st", "ls", stdout=FULL)
    walg.answer("backup-list", stdout=backups(IDENTIFIER, IDENTIFIER))
    walg.answer("st", "put")
    walg.holds_identity()
    assert identity.verify(config, adopt=True)["system_identifier"] == str(IDENTIFIER)


@pytest.mark.parametrize("text", ["", "{}", "[]", "no json", '{"system_identifier": 5}'])
def test_an_identity_that_is_none_is_refused(config: Config, walg: Walg, text: str) -> None:
    walg.answer("st", "cat", "IDENTITY.json", stdout=text)
    with pytest.raises(PgsafeError, match="is no identity"):
        identity.ensure(config)


def test_an_archive_that_cannot_be_asked_is_not_taken_for_empty(config: Config, walg: Walg) -> None:
    walg.answer(
        "st", "cat", "IDENTITY.json", exit=1, stderr="ERROR: 2026/11/23 01:00:00.1 dial tcp: connection refused\n"
    )
    with pytest.raises(PgsafeError, match=r"wal-g st cat failed \(exit 1\): dial tcp: connection refused"):
        identity.ensure(config)
    assert walg.asked() == ["st cat"]


@pytest.mark.parametrize("change", ["prefix", "endpoint", "cluster"])
def test_what_is_remembered_holds_for_this_archive_and_cluster_only(config: Config, walg: Walg, change: str) -> None:
    walg.holds_identity()
    identity.ensure(config)
    assert identity.is_known(config)
    if change == "cluster":
        Path(config.data, "global", "pg_control").write_bytes(OTHER.to_bytes(8, "little"))
    else:
        setattr(config, change, "changed")
    assert not identity.is_known(config)


def test_a_cluster_without_control_file_is_told(config: Config) -> None:
    Path(config.data, "global", "pg_control").unlink()
    with pytest.raises(PgsafeError, match="pg_control cannot be read"):
        identity.verify(config)
