"""clouds.yml from an empty account to everything, through every fault that a cloud has, with nothing secret printed.

One story, because each run of the playbook costs seconds: what a fault leaves half-done, the next run begins with.
"""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from tests.clouds.world import ADDRESS, BASE, COMMENT, MANY, Account, Run, account
from tests.doubles.cloudflare import dns, r2
from tests.doubles.web import Fault
from tests.unit.fixtures import document, drop, put

MADE = ["sapflux backup", "sapflux backup read", "sapflux sapflux-objects", "sapflux caddy"]


STORM = (
    Fault("status", method="GET", path="/zones", status=429, times=2, headers={"retry-after": "1"}),
    Fault("status", method="GET", path="/dns_records", status=503),
    Fault("page", method="GET", path="/dns_records", status=522),
    Fault("cut", method="GET", path="/zones"),
    Fault("lost", method="POST", path="/batch"),
)
"""What a bad hour of an API looks like: limits, errors, pages of its edge, cut connections, a lost answer."""


def failed(run: Run, *says: str) -> None:
    """The run ended with these words."""
    assert run.code != 0, run.text[-2000:]
    assert [each for each in says if each not in run.text] == [], run.text[-2000:]


def everything_is_there_once(here: Account) -> None:
    """Nothing is missing, nothing is double, and every key is kept where it belongs."""
    cloud = here.cloud
    records = [(each["type"], each["name"], each["content"]) for each in dns.records_of(cloud, here.zone).values()]
    assert len(records) == len(set(records))
    assert ("A", "api.sapflux.test", ADDRESS) in records
    assert len([each for each in records if each[1].startswith("note-")]) == MANY
    assert sorted(name for _where, name in cloud.part(r2.Buckets).all) == ["sapflux-local", "sapflux-objects"]
    made = {token.name: token for token in cloud.tokens.values() if token.name != "made by the test"}
    assert sorted(made) == sorted(MADE)
    assert len(cloud.tokens) == len(MADE) + 1
    held = here.kept()
    for name, names in zip(MADE[:3], ("BACKUP", "BACKUP_READ", "APP_S3"), strict=True):
        token = made[name]
        pair = (held[f"{names}_ACCESS_KEY_ID"], held[f"{names}_SECRET_ACCESS_KEY"])
        assert pair == (token.id, hashlib.sha256(token.value.encode()).hexdigest())
    assert held["CADDY_CLOUDFLARE_TOKEN"] == made["sapflux caddy"].value
    # Doppler has the same, and what was there before.
    new = {name: value for name, value in held.items() if name not in here.secrets}
    assert len(new) == 7
    assert {name: here.config.values[name] for name in new} == new
    assert here.config.values["OTHER"] == "of-somebody-else"
    assert here.store.read_text(encoding="utf-8").startswith(COMMENT)
    assert stat.S_IMODE(here.store.stat().st_mode) == 0o600


def test_from_an_empty_account_through_all_that_goes_wrong(tmp_path: Path) -> None:
    with account(tmp_path) as here:
        cloud = here.cloud
        runs = [planned := here.run("--check")]
        assert planned.code == 0, planned.text[-3000:]
        assert planned.changed == 7
        for piece in ("create A api.sapflux.test", "create rule sapflux_hidden", "create bucket sapflux-local", *MADE):
            assert piece in planned.text
        assert [seen for seen in cloud.writes() if seen.query.get("dry_run") != "true"] == []
        assert here.vault.writes() == []

        # The token ends between two batches: the first one stays.
        cloud.faults = [*STORM, Fault("status", method="POST", path="/batch", status=401, times=99)]
        runs.append(half := here.run())
        failed(half, "Keep the records", "401")
        assert [fault.kind for fault in cloud.faults if fault.times] == ["status"]
        assert 0 < len(dns.records_of(cloud, here.zone)) < MANY

        # A key pair is made, and nobody ever sees it.
        cloud.faults = [Fault("lost", method="POST", path="/tokens")]
        runs.append(lost := here.run())
        failed(lost, "Keep the key pairs")
        assert "BACKUP_ACCESS_KEY_ID" not in here.kept()

        cloud.faults = []
        runs.append(done := here.run())
        assert done.code == 0, done.text[-3000:]
        everything_is_there_once(here)

        before, values = len(cloud.writes()), here.kept()
        runs.append(same := here.run())
        assert (same.code, same.changed) == (0, 0), same.text[-3000:]
        assert cloud.writes()[before:] == []
        assert here.kept() == values

        printed = "".join(run.text for run in runs)
        marks = here.marks()
        assert len(marks) >= 12
        assert [mark for mark in marks if mark in printed] == []


def test_nothing_is_asked_where_nothing_can_be_done(tmp_path: Path) -> None:
    with account(tmp_path) as here:
        # A host that is known by its address on the tailnet only.
        hosts = (tmp_path / "hosts.yml").read_text(encoding="utf-8")
        (tmp_path / "hosts.yml").write_text(hosts.replace(ADDRESS, "100.64.0.7"), encoding="utf-8")
        failed(here.run(), "nobody says where api.sapflux.test, sapflux.test is to be found: run provision first")
        # A document without the section asks for nothing, and no token either.
        kept = put("backup.secret_access_key", "${APP_DB_PASSWORD}")
        here.write(document(*BASE, drop("cloudflare"), put("backup.access_key_id", "key-id"), kept))
        nothing = here.run()
        assert (nothing.code, nothing.changed) == (0, 0), nothing.text[-3000:]
        assert here.cloud.log == []
        assert here.vault.log == []
