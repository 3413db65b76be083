"""From two empty accounts to an application that answers, by one command; one story, its tests in their order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed import engine, hosts, sidecars
from tests.bed.https import request
from tests.bed.stage import CADDY_ROOT, DOMAIN
from tests.clouds.project import Run
from tests.clouds.whole import BUCKET, HOST, World, world
from tests.doubles.cloudflare import dns, r2
from tests.doubles.cloudflare import s3 as door

API = f"api.{DOMAIN}"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    engine.ensure()
    with world(tmp_path_factory.mktemp("whole")) as made:
        yield made


@pytest.fixture(scope="module")
def first(here: World) -> Run:
    """The one command."""
    return here.project.run("site", "--diff")


def test_a_look_shows_the_whole_plan_and_writes_nothing(here: World) -> None:
    run = here.project.run("site", "--check", "--diff")
    assert run.code == 0, run.output[-4000:]
    for piece in (
        "create server whole-way",
        "create firewall",
        f"bucket {BUCKET}",
        "key pair sapflux backup",
        "key pair sapflux backup read",
        "rule sapflux_hidden",
        '+    "value": "1.2"',
        f"the addresses of {API}, {DOMAIN} are known once the servers are there",
        f"What is done on {HOST} shows once it is there.",
    ):
        assert piece in run.output, piece
    assert here.hetzner.writes() == []
    # What Cloudflare is asked to judge without keeping it is no write.
    assert [seen for seen in here.cloud.writes() if seen.query.get("dry_run") != "true"] == []
    assert here.objects.log == []
    assert "BACKUP_ACCESS_KEY_ID" not in here.kept()


def test_one_command_makes_everything(first: Run) -> None:
    assert first.code == 0, first.output[-6000:]
    assert set(first.changed) == {"localhost", HOST}


def test_the_application_answers_through_caddy(here: World, first: Run) -> None:
    assert first.code == 0
    ca = here.sudo(f"cat {CADDY_ROOT}") + "\n"
    assert request(here.address(), API, "/ready", ca).status == 200
    point = {"longitude": 10.5, "latitude": 59.9, "observed_at": "2026-05-01T12:00:00Z", "payload": {"tree": 7}}
    made = request(here.address(), API, "/observations", ca, method="POST", body=point)
    assert made.status == 201, made.body
    found = request(here.address(), API, "/observations?bbox=10,59,11,60", ca).json()["features"]
    assert [feature["id"] for feature in found] == [made.json()["id"]]
    assert request(here.address(), API, "/admin/migrate", ca, method="POST", body={}).status == 404


def test_the_zone_leads_to_the_server_that_was_made(here: World, first: Run) -> None:
    """To the address that visitors could reach: the other one is of a private network."""
    assert first.code == 0
    network = str(here.hetzner.named("primary_ips", f"{HOST}-ipv6")["ip"])
    records = {(each["type"], each["content"]) for each in dns.records_of(here.cloud, here.zone).values()}
    assert ("AAAA", network.replace("::/64", "::1")) in records


def test_backups_go_to_the_bucket_that_was_made_with_the_keys_that_were_made(here: World, first: Run) -> None:
    assert first.code == 0
    assert [name for _where, name in here.cloud.part(r2.Buckets).all] == [BUCKET]
    held, made = here.kept(), {token.name: token for token in here.cloud.tokens.values()}
    for name, token in (("BACKUP", made["sapflux backup"]), ("BACKUP_READ", made["sapflux backup read"])):
        assert held[f"{name}_ACCESS_KEY_ID"] == token.id
        assert held[f"{name}_SECRET_ACCESS_KEY"] == door.secret_of(token)
    # R2 let nobody else in: each request came with the pair of a token.
    assert here.objects.used["sapflux backup"] > 0
    assert {seen.status // 100 for seen in here.objects.log if seen.method == "PUT"} == {2}
    stored = sidecars.s3().list_objects_v2(Bucket=BUCKET, Prefix="pg/sapflux/")
    assert any("/wal_" in item["Key"] for item in stored["Contents"])


def test_ssh_is_left_over_the_tailnet_only(here: World, first: Run) -> None:
    """Both firewalls closed it: the host's own, and that of Hetzner by the hook of the same run."""
    assert first.code == 0
    assert not hosts.greets(here.address())
    firewall = here.hetzner.named("firewalls", "sapflux")
    assert firewall["labels"]["ssh"] == "closed"
    assert [rule["port"] for rule in firewall["rules"] if rule["protocol"] == "tcp"] == ["443"]
    assert here.sudo("hostname") == HOST


def test_a_second_run_changes_nothing_anywhere(here: World, first: Run) -> None:
    assert first.code == 0
    before = len(here.hetzner.writes()), len(here.cloud.writes()), here.kept()
    run = here.project.run("site", "--diff")
    assert run.code == 0, run.output[-4000:]
    assert run.changed == {"localhost": 0, HOST: 0}, run.output[-6000:]
    assert (len(here.hetzner.writes()), len(here.cloud.writes()), here.kept()) == before


def test_no_run_shows_a_secret(here: World, first: Run) -> None:
    marks = here.marks()
    assert len(marks) >= 8
    assert [mark for mark in marks if mark in first.output] == []
    assert "PRIVATE KEY" not in first.output
