"""A host that tells how its jobs fare: what was heard is asked of the server of the checks, not of the files."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host

from tests.bed import doubles
from tests.doubles.healthchecks.checks import API_KEY, PING_KEY
from tests.scenario import converge, unchanged, wait_until

ME = "monitoring-1"
SAMPLE = f"{ME}-sample"
BOX = doubles.HEALTHCHECKS
ASK = "python3 -c \"import urllib.request as u; print(u.urlopen('http://127.0.0.1:3001"


def heard(slug: str) -> list[dict[str, Any]]:
    """The pings of a check, oldest first."""
    return list(doubles.ask(BOX, "GET", "heard").get(slug, []))


def checks() -> dict[str, dict[str, Any]]:
    """The checks of this host by slug, as the API shows them."""
    found = doubles.api(BOX, "/api/v3/checks/", {"X-Api-Key": API_KEY})["checks"]
    return {check["slug"]: check for check in found if f"sapflux.hosting:{ME}" in check["tags"].split()}


def job(host: Host, script: str) -> str:
    """Run the sample job with this script; how it ended."""
    host.check_output(f"printf '%s\\n' \"{script}\" >/root/sample.sh")
    host.run("systemctl start sapflux-sample.service")
    return str(host.check_output("systemctl show --property=Result --value sapflux-sample.service"))


def test_every_timer_has_a_check_with_its_schedule_and_zone(host: Host) -> None:
    watched = "systemctl list-timers 'sapflux-*' apt-daily-upgrade.timer --no-legend --plain"
    services = {line.split()[-1].removesuffix(".service") for line in host.check_output(watched).splitlines()}
    assert {"sapflux-sample", "sapflux-heartbeat", "sapflux-host-check"} <= services
    found = checks()
    assert {f"{ME}-{name.removeprefix('sapflux-')}" for name in services} == set(found)
    sample = found[SAMPLE]
    zone = host.check_output("readlink /etc/localtime").partition("zoneinfo/")[2]
    assert (sample["schedule"], sample["tz"], sample["grace"]) == ("*-*-* 03:17:00", zone, 60 + 300 + 600)
    assert sample["channels"]


def test_a_good_run_is_heard_with_its_start_and_one_number(host: Host) -> None:
    before = len(heard(SAMPLE))
    host.check_output("rm -f /root/go; echo 'until [ -e /root/go ]; do sleep 0.2; done' >/root/sample.sh")
    host.check_output("systemctl start --no-block sapflux-sample.service")
    try:
        wait_until(lambda: [one["kind"] for one in heard(SAMPLE)[before:]] == ["start"], "the start", 120)
    finally:
        host.check_output("touch /root/go")
    wait_until(lambda: len(heard(SAMPLE)) == before + 2, "the end", 120)
    start, end = heard(SAMPLE)[-2:]
    assert (start["kind"], end["kind"], start["rid"]) == ("start", "success", end["rid"])


@pytest.mark.parametrize(
    ("script", "result"), [("echo disk of the archive is full; exit 3", "exit-code"), ("kill -KILL \\$\\$", "signal")]
)
def test_a_bad_run_rings_with_the_reason(host: Host, script: str, result: str) -> None:
    """A signal has a name instead of a number, which the server would answer with 404."""
    before = len(heard(SAMPLE))
    assert job(host, script) == result
    wait_until(lambda: any(one["kind"] == "fail" for one in heard(SAMPLE)[before:]), "the bad end", 120)
    body = next(one["body"] for one in heard(SAMPLE)[before:] if one["kind"] == "fail")
    assert body.startswith(f"result {result}, ")
    assert ("disk of the archive is full" in body) == (result == "exit-code")
    assert checks()[SAMPLE]["status"] == "down"
    assert job(host, "exit 0") == "success"
    wait_until(lambda: checks()[SAMPLE]["status"] == "up", "the end of the alarm", 120)


def test_the_host_gives_a_sign_of_life(host: Host) -> None:
    before = len(heard(f"{ME}-heartbeat"))
    wait_until(lambda: len(heard(f"{ME}-heartbeat")) > before, "a heartbeat", 240)
    assert checks()[f"{ME}-heartbeat"]["status"] == "up"
    assert host.check_output("systemctl is-active sapflux-heartbeat.timer") == "active"


def test_a_unit_that_failed_rings(host: Host) -> None:
    host.check_output("systemctl reset-failed; systemctl start sapflux-host-check.service")
    assert json.loads(host.file("/var/lib/sapflux/monitoring/host.json").content_string)["problems"] == []
    host.run("systemd-run --quiet --unit=broken-thing --property=Type=oneshot false")
    assert host.run("systemctl start sapflux-host-check.service").rc == 1
    slug = f"{ME}-host-check"
    wait_until(lambda: bool(heard(slug)) and heard(slug)[-1]["kind"] == "fail", "the alarm", 120)
    assert "broken-thing.service failed: see journalctl -u broken-thing.service" in heard(slug)[-1]["body"]
    host.check_output("systemctl reset-failed broken-thing.service; systemctl start sapflux-host-check.service")
    wait_until(lambda: checks()[slug]["status"] == "up", "the end of the alarm", 120)


def test_a_certificate_that_ended_rings(host: Host) -> None:
    """Where the web server keeps its own; the unit may read what belongs to others."""
    folder = "/var/lib/caddy/.local/share/caddy/certificates/local/sapflux.test"
    host.check_output(f"install -d -m 0700 {folder}")
    host.check_output(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -quiet -subj /CN=a -keyout /dev/null "
        f"-not_before 20200101000000Z -not_after 20200201000000Z -out {folder}/a.crt"
    )
    host.check_output(f"chmod 0600 {folder}/a.crt && chown -R nobody /var/lib/caddy")
    assert host.run("systemctl start sapflux-host-check.service").rc == 1
    slug = f"{ME}-host-check"
    wait_until(lambda: bool(heard(slug)) and heard(slug)[-1]["kind"] == "fail", "the alarm", 120)
    assert f"{folder}/a.crt ends in -" in heard(slug)[-1]["body"]
    host.check_output("rm -r /var/lib/caddy; systemctl start sapflux-host-check.service")
    wait_until(lambda: checks()[slug]["status"] == "up", "the end of the alarm", 120)


def test_a_server_that_is_away_neither_fails_nor_delays_a_job_and_hears_later(host: Host) -> None:
    before = len(heard(SAMPLE))
    host.check_output(f"ip route add blackhole {BOX.address}/32")
    began = float(host.check_output("cut -d' ' -f1 /proc/uptime"))
    assert job(host, "exit 0") == "success"
    # One attempt to reach the server alone takes longer to give up.
    assert float(host.check_output("cut -d' ' -f1 /proc/uptime")) - began < 10
    host.check_output(f"ip route del blackhole {BOX.address}/32")
    wait_until(lambda: any(one["kind"] == "success" for one in heard(SAMPLE)[before:]), "the late ping", 180)


def kuma(host: Host) -> dict[str, Any]:
    """What Uptime Kuma's double knows: monitors by name with their newest beat, and who was told."""
    state = json.loads(host.check_output(f"{ASK}/_double/state').read().decode())\""))
    monitors = {one["name"]: one for one in state["data"]["monitors"].values()}
    beats = {name: (state["beats"].get(str(one["id"])) or [{}])[-1] for name, one in monitors.items()}
    return {"monitors": monitors, "beats": beats, "told": state["told"], "settings": state["settings"]}


def test_uptime_kuma_watches_and_tells(host: Host) -> None:
    """Real beats: of a page that answers, of what the host pushed, and of a page that stops answering."""
    found = kuma(host)
    assert {"shop", "web", "api ready"} == set(found["monitors"])
    assert found["settings"]["keepDataPeriodDays"] == 60
    host.check_output("systemctl start sapflux-kuma-push.service")
    wait_until(lambda: {one.get("status") for one in kuma(host)["beats"].values()} == {1}, "good beats", 120)
    before = len(kuma(host)["told"])
    gone = "http://10.83.0.31:8789/nowhere"
    assert converge("monitoring", molecule_kuma_url=gone).returncode == 0
    wait_until(lambda: kuma(host)["beats"]["web"].get("status") == 0, "the bad beat", 120)
    wait_until(lambda: len(kuma(host)["told"]) > before, "the notification", 120)
    told = kuma(host)["told"][before]
    assert (told["notification"], told["monitor"], told["status"]) == ("operator", "web", 0)
    assert converge("monitoring").returncode == 0
    wait_until(lambda: kuma(host)["beats"]["web"].get("status") == 1, "the end of the alarm", 120)


def test_uptime_kuma_is_on_loopback_bounded_and_keeps_its_secrets(host: Host) -> None:
    assert host.check_output("ss -Hltn 'sport = :3001' | awk '{print $4}'").splitlines() == ["127.0.0.1:3001"]
    seen = json.loads(host.check_output("docker inspect sapflux-kuma-kuma-1"))[0]
    # The engine inside a test host cannot bound memory, and drops what it is told of it.
    assert "mem_limit: 256m\n" in host.file("/etc/sapflux/kuma/compose.yml").content_string
    assert seen["Config"]["User"] not in ("", "0", "root")
    assert "correct-horse" not in json.dumps(seen)
    assert host.file("/etc/sapflux/kuma-push.json").mode == 0o600
    said = host.check_output("journalctl --no-pager --quiet --output=cat _COMM=systemd + _COMM=python3 + _COMM=sshd")
    secrets = ("correct-horse", "a1b2c3d4e5f60718", "hook-of-the-operator")
    assert [secret for secret in secrets if secret in said] == []


def test_an_empty_volume_comes_back_in_one_run(host: Host) -> None:
    before = set(kuma(host)["monitors"])
    compose = "docker compose --project-name sapflux-kuma --file /etc/sapflux/kuma/compose.yml"
    host.check_output(f"{compose} down --volumes && systemctl restart sapflux-kuma.service")
    assert kuma(host)["monitors"] == {}
    assert converge("monitoring").returncode == 0
    assert set(kuma(host)["monitors"]) == before
    assert unchanged(converge("monitoring"))


def test_the_key_is_where_only_root_reads_it(host: Host) -> None:
    assert (host.file("/etc/sapflux/ping.json").mode, host.file("/etc/sapflux/ping.json").user) == (0o600, "root")
    job(host, "exit 1")
    # Of these tests themselves only sudo tells the journal.
    said = host.check_output("journalctl --no-pager --quiet --output=cat _COMM=systemd + _COMM=python3 + _COMM=sshd")
    assert "sapflux-sample" in said
    assert [secret for secret in (PING_KEY, API_KEY) if secret in said] == []
    places = "/etc/systemd /run/systemd /usr/local/lib/sapflux /proc/[0-9]*/environ /proc/[0-9]*/cmdline"
    assert host.run(f"grep -rlE '({PING_KEY[:-1]}|{API_KEY[:-1]})[a-z0-9]' {places} | grep -v /self/").stdout == ""
    job(host, "exit 0")
    host.check_output("systemctl reset-failed")


def test_what_a_person_made_stays_and_what_lost_its_timer_goes(host: Host) -> None:
    by_hand = {"name": "by hand", "tags": ME, "slug": f"{ME}-by-hand"}
    mine = doubles.api(BOX, "/api/v3/checks/", {"X-Api-Key": API_KEY}, by_hand)
    host.check_output("systemctl disable --now sapflux-sample.timer")
    done = converge("monitoring")
    assert done.returncode == 0, done.stdout
    assert SAMPLE not in checks()
    assert doubles.api(BOX, f"/api/v3/checks/{mine['uuid']}", {"X-Api-Key": API_KEY})["name"] == "by hand"
    assert not host.file("/etc/systemd/system/sapflux-sample.service.d/70-sapflux-ping.conf").exists
    host.check_output("systemctl enable --now sapflux-sample.timer")
    assert converge("monitoring").returncode == 0
    assert SAMPLE in checks()
    doubles.api(BOX, f"/api/v3/checks/{mine['uuid']}", {"X-Api-Key": API_KEY}, method="DELETE")
    assert unchanged(converge("monitoring"))


def test_a_channel_that_is_not_there_is_refused_before_anything_changes(host: Host) -> None:
    before = host.file("/etc/sapflux/ping.json").content_string
    done = converge("monitoring", monitoring_channels=["Pager"], monitoring_disk_percent=50)
    assert done.returncode != 0
    assert "shall tell the channel 'Pager', which is not there" in " ".join(done.stdout.split())
    assert "changed=0 " in done.stdout
    assert host.file("/etc/sapflux/ping.json").content_string == before


def test_uptime_kuma_goes_with_one_key_and_what_it_saw_stays(host: Host) -> None:
    assert converge("monitoring", monitoring_kuma_enabled=False).returncode == 0
    assert "Connection refused" in host.run(f"{ASK}/'))\"").stderr
    assert not host.file("/etc/sapflux/upstreams/sapflux-kuma").exists
    assert f"{ME}-kuma-push" not in checks()
    assert unchanged(converge("monitoring", monitoring_kuma_enabled=False))
    assert host.check_output("docker volume ls --quiet --filter name=sapflux-kuma_data")
    assert converge("monitoring").returncode == 0
    assert set(kuma(host)["monitors"]) == {"shop", "web", "api ready"}


def test_absent_takes_the_pings_back_and_leaves_the_jobs(host: Host) -> None:
    """The last test: the checks stay and ring, because a host that falls silent is what they are for."""
    assert converge("monitoring", monitoring_state="absent").returncode == 0
    assert not host.file("/etc/sapflux/ping.json").exists
    assert not host.file("/etc/systemd/system/sapflux-sample.service.d").exists
    assert job(host, "exit 0") == "success"
    assert SAMPLE in checks()
    assert unchanged(converge("monitoring", monitoring_state="absent"))
    assert converge("monitoring").returncode == 0
