"""Origin pulls: uploaded, waited for, switched on, and only then is the old certificate taken away."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _cloudflare
from ansible_collections.sapflux.hosting.plugins.modules import cloudflare_origin_pulls

from tests.doubles.cloudflare import Cloudflare, origin, settings
from tests.doubles.web import Fault
from tests.unit.plugins.module_utils.scripted_http import Call
from tests.unit.plugins.modules import pems
from tests.unit.plugins.modules.cloud_module import CHECK, ZONE, Runner, found, good

GROUPS = ("SSL and Certificates Write", "Zone Settings Read")
KEY = pems.new_key()
PRIVATE = pems.private(KEY)
PEM = pems.certificate(KEY)
WISH: dict[str, Any] = {"zone": "example.org", "certificate": PEM, "private_key": PRIVATE}
HOME = f"/zones/{ZONE}/origin_tls_client_auth"


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = Runner(cloudflare_origin_pulls, capsys, monkeypatch)
    made.secrets.append(PRIVATE.splitlines()[1])
    return made


def test_it_is_switched_on_only_when_the_edge_has_it(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(_cloudflare, "pause", pauses.append)
    new = {"id": "n", "certificate": PEM, "status": "initializing"}
    script = runner.script(
        found(),
        Call("GET", f"{HOME}?per_page=50", good([{"id": "o", "status": "active"}, {"id": "d", "status": "deleted"}])),
        Call("GET", f"{HOME}/settings", good({"enabled": False})),
        Call("GET", f"/zones/{ZONE}/settings/ssl", good({"value": "strict"})),
        Call("POST", HOME, good(new), body={"certificate": PEM, "private_key": PRIVATE}),
        Call("GET", f"{HOME}/n", good({**new, "status": "pending_deployment"})),
        Call("GET", f"{HOME}/n", good({**new, "status": "active"})),
        Call("PUT", f"{HOME}/settings", good({"enabled": True}), body={"enabled": True}),
        Call("DELETE", f"{HOME}/o", good({"id": "o"})),
    )
    result = runner(**WISH)
    script.done()
    assert (result["active"], result["id"], pauses) == (True, "n", [5, 5])
    assert result["changes"][1:] == ["change origin pulls: enabled false -> true", "remove client certificate o"]


def test_check_mode_only_reads(runner: Runner) -> None:
    script = runner.script(
        found(),
        Call("GET", f"{HOME}?per_page=50", good([])),
        Call("GET", f"{HOME}/settings", good({"enabled": False})),
        Call("GET", f"/zones/{ZONE}/settings/ssl", good({"value": "full"})),
    )
    result = runner(**WISH, **CHECK)
    script.done()
    assert (result["changed"], result["active"], len(result["changes"])) == (True, False, 2)


def test_against_the_double(runner: Runner) -> None:
    with runner.double(*GROUPS) as (cloud, zone):
        result = runner.check_then_do(cloud, **WISH)
        assert (result["active"], on(cloud, zone)) == (True, [result["id"]])
        # A certificate that renews it: the old one goes when the new one is there.
        key = pems.new_key()
        renewed = {"zone": "example.org", "certificate": pems.certificate(key), "private_key": pems.private(key)}
        again = runner.check_then_do(cloud, **renewed)
        assert on(cloud, zone) == [again["id"]]
        assert [seen.method for seen in cloud.writes()] == ["POST", "PUT", "POST", "DELETE"]
        gone = runner.check_then_do(cloud, zone="example.org", state="absent")
        assert (gone["active"], gone["id"], on(cloud, zone)) == (False, "", [])
        # Off first, then without a certificate.
        assert [seen.method for seen in cloud.writes()][-2:] == ["PUT", "DELETE"]
        runner.check_then_do(cloud, **WISH)


def on(cloud: Cloudflare, zone: str) -> list[str]:
    """Certificates that the edge shows."""
    pulls = cloud.part(origin.Pulls)
    active = [each["id"] for each in pulls.of[zone].values() if each["status"] == "active"]
    return active if pulls.enabled.get(zone) else []


def test_a_certificate_that_takes_too_long_switches_nothing_on(runner: Runner) -> None:
    with runner.double(*GROUPS) as (cloud, zone):
        cloud.part(origin.Pulls).delay = 10_000
        assert "nothing was switched on: run this again later" in runner.fails(**WISH, wait_timeout=20)
        assert on(cloud, zone) == []
        # Without waiting that is no failure, and the next run goes on.
        result = runner(**WISH, wait_timeout=0)
        assert (result["active"], result["changed"]) == (False, False)
        cloud.part(origin.Pulls).delay = 0
        assert runner.check_then_do(cloud, **WISH)["changes"] == ["change origin pulls: enabled false -> true"]


def test_a_deployment_that_failed_is_told_and_repeated(runner: Runner) -> None:
    with runner.double(*GROUPS) as (cloud, zone):
        pulls = cloud.part(origin.Pulls)
        pulls.ends_as = "deployment_timed_out"
        assert "is deployment_timed_out; run this again" in runner.fails(**WISH)
        assert on(cloud, zone) == []
        pulls.ends_as = "active"
        result = runner.check_then_do(cloud, **WISH)
        assert [change.split()[0] for change in result["changes"]] == ["remove", "create", "change"]
        assert on(cloud, zone) == [result["id"]]


def test_an_answer_that_is_lost_leaves_one_certificate(runner: Runner) -> None:
    with runner.double(*GROUPS) as (cloud, zone):
        cloud.faults = [Fault("lost", method="POST")]
        runner.check_then_do(cloud, **WISH)
        assert len(cloud.part(origin.Pulls).of[zone]) == 1
        cloud.faults = [Fault("cut", method="POST")]
        key = pems.new_key()
        other = {"zone": "example.org", "certificate": pems.certificate(key), "private_key": pems.private(key)}
        assert "could not be reached" in runner.fails(**other)


@pytest.mark.parametrize("mode", ["off", "flexible"])
def test_a_zone_without_tls_to_the_origin_is_refused(runner: Runner, mode: str) -> None:
    with runner.double(*GROUPS) as (cloud, zone):
        settings.values_of(cloud, zone)["ssl"] = mode
        assert f"ssl of example.org is {mode}" in runner.fails(**WISH)
        assert cloud.writes() == []


def test_a_key_of_another_certificate(runner: Runner) -> None:
    with runner.double(*GROUPS) as (_cloud, _zone):
        other = {**WISH, "private_key": pems.private(pems.new_key())}
        assert "not that of the certificate (code 1412)" in runner.fails(**other)
    runner.script()
    assert "has no block BEGIN CERTIFICATE" in runner.fails(**{**WISH, "certificate": "x"})
