"""Deploys under load: nobody notices one, whatever fails serves what served before, and every way back works."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.deploy_host import Shop, deploy, image, killed_at, load, serves, text, through_caddy
from tests.scenario import reboot, wait_until


def test_two_services_serve_and_what_is_hidden_is(shop: Shop) -> None:
    assert shop.slots() == ["api-blue", "web-blue"]
    assert through_caddy("/health") == "200 v1"
    assert through_caddy("/", "www.sapflux.test") == "200 web"
    assert [through_caddy(path).split()[0] for path in ("/admin/migrate", "/migrations")] == ["404", "404"]
    named = shop.receipts()[-1]["restore_point"]
    assert named.startswith("deploy_")
    assert shop.host.run(f"grep -q {named} /var/log/postgresql/*.log").rc == 0


def test_nobody_notices_a_deploy_nor_a_rollback(shop: Shop) -> None:
    with load() as running:
        assert deploy(molecule_image="v2").rc == 0
        assert deploy(molecule_image="v2", molecule_token="another").rc == 0
        assert shop.release("rollback")["rc"] == 0
        assert shop.release("rollback", app_release=image("v1").partition("@")[2][:20])["rc"] == 0
    report = running.report
    assert report.errors() == {}
    assert len(report.of("get")) > 500
    assert len(report.of("upload")) > 3
    assert through_caddy("/health") == "200 v1"
    assert [entry["kind"] for entry in shop.receipts()[-2:]] == ["rollback", "rollback"]
    assert not deploy("--check").changed


def test_a_page_of_the_old_release_still_finds_its_files() -> None:
    assert deploy(molecule_image="v2").rc == 0
    assert [through_caddy(f"/assets/{name}.js") for name in ("v1", "v2")] == ["200 v1", "200 v2"]
    assert deploy().rc == 0


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"molecule_image": "10.83.0.11:5000/test/app@sha256:" + "0" * 64}, "cannot be pulled"),
        ({"molecule_behaviour": "exit"}, "ends again and again"),
        ({"molecule_behaviour": "crash"}, "through Caddy, it must answer 200"),
        ({"molecule_behaviour": "unmigratable", "molecule_image": "v3"}, "could not migrate"),
        ({"app_edge_port": 4443}, "Caddy does not answer"),
    ],
)
def test_what_fails_leaves_what_served(shop: Shop, variables: dict[str, Any], said: str) -> None:
    before, slots = shop.upstream(), shop.slots()
    with load(upload_workers=0) as running:
        failed = deploy(**{"molecule_image": "v2", **variables})
    assert failed.rc != 0
    assert said in text(failed.output)
    # A new release that dies on its first requests takes those with it, and no others.
    allowed = 30 if variables.get("molecule_behaviour") == "crash" else 0
    assert len(running.report.failed) <= allowed, running.report.errors()
    assert (shop.upstream(), shop.slots()) == (before, slots)
    assert not deploy("--check").changed


def test_an_old_release_ends_what_the_database_says_it_does(shop: Shop) -> None:
    hold = 'cd /; runuser -u postgres -- psql -XAtqd shop -c "SELECT pg_advisory_lock(7); SELECT pg_sleep(12)"'
    began = time.monotonic()
    shop.host.check_output(f"systemd-run --quiet --unit=scenario-lock sh -c {json.dumps(hold)}")
    assert deploy(molecule_image="v2").rc == 0
    drained = next(step["seconds"] for step in shop.receipts()[-1]["steps"] if step["step"] == "drain")
    assert time.monotonic() - began > 10
    assert drained > 1
    assert shop.receipts()[-1]["warnings"] == []


def test_a_service_without_a_second_slot_is_replaced_while_requests_wait(shop: Shop) -> None:
    with load("www.sapflux.test", path="/", slow_workers=0, upload_workers=0, rate=40) as running:
        assert deploy(molecule_image="v2", molecule_web_env={"NEW": "yes"}).rc == 0
    assert running.report.errors() == {}
    assert shop.receipts()[-1]["held"] == ["web"]
    assert deploy().rc == 0


def test_no_way_leads_back_across_a_migration_that_cannot_be_undone(shop: Shop) -> None:
    assert deploy(molecule_image="v3").rc == 0
    refused = shop.release("rollback")
    assert refused["rc"] != 0
    assert "which cannot be undone" in refused["output"]
    assert through_caddy("/health") == "200 v3"
    assert deploy(app_across_irreversible=True).rc == 0


def test_a_lock_of_a_person_is_never_taken_over(shop: Shop) -> None:
    assert shop.release("lock", app_reason="counting rows", app_owner="riley")["changed"] == 1
    refused = deploy(molecule_image="v2")
    assert refused.rc != 0
    assert "locked by riley since" in text(refused.output)
    assert deploy().rc == 0, "what is as wished needs no lock"
    assert shop.release("unlock")["changed"] == 1


def test_maintenance_closes_the_services_and_deploys_go_on(shop: Shop) -> None:
    assert shop.release("maintenance_on")["changed"] == 1
    assert through_caddy("/health").startswith("503")
    assert deploy(molecule_image="v2").rc == 0
    assert shop.release("maintenance_off")["changed"] == 1
    assert through_caddy("/health") == "200 v2"


def test_hooks_run_in_between_and_one_that_fails_leads_back(shop: Shop, tmp_path: Path) -> None:
    note = (
        "- ansible.builtin.command: {argv: [logger, -t, scenario-hook, '{{ app_hook.name }}']}\n  changed_when: true\n"
    )
    names = ["before_pull", "before_migrate", "before_switch", "after_switch", "on_failure"]
    hooks = {name: str(tmp_path / f"{name}.yml") for name in names}
    for path in hooks.values():
        Path(path).write_text(note)
    assert deploy(molecule_image="v1", app_hooks=hooks).rc == 0
    heard = "journalctl --quiet --output=cat --identifier=scenario-hook"
    assert shop.host.check_output(heard).split() == names[:4]
    Path(hooks["after_switch"]).write_text("- ansible.builtin.fail: {msg: the smoke test says no}\n")
    failed = deploy(molecule_image="v2", app_hooks=hooks)
    assert failed.rc != 0
    assert "the smoke test says no" in text(failed.output)
    assert shop.host.check_output(heard).split()[-1] == "on_failure"
    assert through_caddy("/health") == "200 v1"
    assert not deploy("--check").changed


def test_a_run_that_is_killed_is_taken_over_and_a_reboot_serves_the_old_release(shop: Shop) -> None:
    before, slots = shop.upstream(), shop.slots()
    assert killed_at("health", molecule_image="v2", molecule_behaviour="unhealthy").rc != 0
    assert through_caddy("/health") == "200 v1"
    assert len(shop.slots()) == 3
    reboot("deploy-1")
    unit = shop.host.service("sapflux-app@shop.service")
    wait_until(lambda: bool(unit.is_running), "the start of the services", 180)
    serves("v1")
    assert (shop.upstream(), shop.slots()) == (before, slots)
    assert deploy(molecule_image="v2").rc == 0
    assert through_caddy("/health") == "200 v2"
    assert [entry["verdict"] for entry in shop.receipts()[-2:]] == ["interrupted", "ok"]
