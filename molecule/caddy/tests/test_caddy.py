"""The server as a client meets it, and what happens to it when a change is no good."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from testinfra.host import Host

from plugins.module_utils._cloudflare_ips import CIDRS
from tests.edge import STORAGE, Client, inside, pid
from tests.scenario import apply, wait_until

API, WWW = "api.sapflux.test", "www.sapflux.test"
ROUTE = {"path": "/*", "action": "proxy", "upstream": "127.0.0.1:18080"}
NEW_SITE = {"hostname": "new.sapflux.test", "routes": [ROUTE]}
API_SITE = {**NEW_SITE, "hostname": API}


def seen(host: Host) -> list[str]:
    """Paths that reached the service behind Caddy so far."""
    fetch = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:18080/seen').read().decode())"
    return list(json.loads(host.check_output(f'python3 -c "{fetch}"'))["seen"])


def test_443_over_tcp_is_all_that_listens(host: Host) -> None:
    sockets = [line.split() for line in host.check_output("ss -Hlntup").splitlines() if '"caddy"' in line]
    assert [(line[0], line[4]) for line in sockets] == [("tcp", "*:443")]


def test_a_site_answers_under_a_verified_certificate(client: Client) -> None:
    reply = client.ask(API, "/hello?x=1", X_Forwarded_For="1.2.3.4", X_Real_Ip="1.2.3.4")
    told = json.loads(reply.body)
    assert (reply.status, told["path"]) == (200, "/hello?x=1")
    # The client's own claims about its address are not believed.
    assert "1.2.3.4" not in json.dumps(told["headers"])
    assert told["headers"]["X-Forwarded-Proto"] == "https"


def test_a_proxy_of_the_list_is_believed_and_nobody_else(host: Host, client: Client) -> None:
    claimed = "203.0.113.7"
    for source, believed in (("127.0.0.2", claimed), ("127.0.0.1", "127.0.0.1")):
        status, body = inside(host, API, "/who", source, Cf_Connecting_Ip=claimed)
        assert (status, json.loads(body)["headers"]["X-Real-Ip"]) == (200, believed)
    stranger = json.loads(client.ask(API, "/who", Cf_Connecting_Ip=claimed).body)["headers"]["X-Real-Ip"]
    assert stranger not in (claimed, client.address)
    # The list of Cloudflare's edge is the one the firewall uses, whole.
    line = host.check_output("grep 'trusted_proxies static' /etc/caddy/Caddyfile")
    assert {*CIDRS, "127.0.0.2/32"} == set(line.split()[2:])


def test_security_headers(client: Client) -> None:
    # The service sends an HSTS of its own, which is dropped: that header has one owner.
    for reply in (client.ask(API, "/"), client.ask(API, "/admin/x"), client.ask(WWW, "/nothing")):
        assert reply.headers["strict-transport-security"] == "max-age=300"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["referrer-policy"] == "strict-origin-when-cross-origin"
        assert not {"server", "x-powered-by"} & set(reply.headers)


def test_the_policy_is_the_sites_unless_the_application_has_its_own(client: Client) -> None:
    policy = dict(
        each.split(" ", 1) for each in client.ask(WWW, "/only").headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'self'"
    assert {"https://clerk.sapflux.test", "https://stats.sapflux.test"} <= set(policy["script-src"].split())
    assert "https://tiles.sapflux.test" in policy["img-src"].split()
    assert "'unsafe-inline'" not in policy["script-src"]
    # An answer of Caddy's own bears it too.
    assert client.ask(WWW, "/nothing").headers["content-security-policy"].startswith("base-uri 'self'")
    assert client.ask(WWW, "/only?own-policy").headers["content-security-policy"] == "default-src 'none'"
    assert "content-security-policy" not in client.ask(API, "/").headers


@pytest.mark.parametrize(
    "path",
    [
        "/admin", "/admin/", "/admin/migrate", "//admin/migrate", "/ADMIN/migrate", "/%61dmin/migrate",
        "/x/../admin/migrate", "/./admin/migrate", "/admin%2fmigrate", "/admin//migrate", "/admin/../admin/migrate",
    ],
)  # fmt: skip
def test_a_denied_path_is_404_however_it_is_written(host: Host, client: Client, path: str) -> None:
    assert client.ask(API, path, "POST").status == 404
    assert not [reached for reached in seen(host) if "migrate" in reached.lower() or "admin" in reached.lower()]


def test_a_path_that_only_looks_denied_is_served(client: Client) -> None:
    assert client.ask(API, "/administration").status == 200


def test_what_no_route_matches_is_404(client: Client) -> None:
    assert client.ask(WWW, "/only").status == 200
    assert client.ask(WWW, "/only/").status == 404
    assert client.ask(WWW, "/").status == 404


@pytest.mark.parametrize("name", ["nobody.sapflux.test", "sapflux.test", None])
def test_unknown_names_get_no_certificate(client: Client, name: str | None) -> None:
    with pytest.raises(ssl.SSLError, match="internal error"):
        client.connect(name)


def test_a_host_header_of_another_site_is_refused(client: Client) -> None:
    assert client.ask(API, "/", Host=WWW).status == 421
    assert client.ask(API, "/", Host="nobody.example").status == 421


def test_http2_is_spoken_and_plain_http_is_not(client: Client) -> None:
    assert client.connect(API, ["h2", "http/1.1"]).selected_alpn_protocol() == "h2"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((client.address, 80), 5)


def test_bodies_are_limited(host: Host, client: Client) -> None:
    assert json.loads(client.ask(API, "/fits", "POST", b"x" * 900_000).body)["size"] == 900_000
    # The announcement is enough; a client that goes on sending would only find the connection closed.
    assert client.announce(API, "/too-big", 1_100_000) == 413
    assert "/too-big" not in seen(host)


def test_a_route_may_have_a_limit_of_its_own(client: Client) -> None:
    assert json.loads(client.ask(API, "/uploads/x", "POST", b"x" * 1_500_000).body)["size"] == 1_500_000
    assert client.announce(API, "/uploads/x", 2_100_000) == 413


@pytest.mark.parametrize(("accepted", "used"), [("gzip", "gzip"), ("zstd", "zstd"), ("gzip, br, zstd", "zstd")])
def test_answers_are_compressed(client: Client, accepted: str, used: str) -> None:
    reply = client.ask(API, "/", Accept_Encoding=accepted)
    assert reply.headers["content-encoding"] == used
    assert len(reply.body) < 1000
    assert "content-encoding" not in client.ask(API, "/").headers


def test_the_access_log_is_json_without_credentials(host: Host, client: Client) -> None:
    marker = "marker-of-a-secret"
    secrets = {"Authorization": f"Bearer {marker}", "Cookie": f"session={marker}", "Proxy_Authorization": marker}
    client.ask(API, f"/logged?x=1&token={marker}&__clerk_ticket={marker}", "GET", b"", **secrets, Referer=f"/{marker}")
    log = host.file("/var/log/caddy/access.log")
    assert (log.user, log.mode) == ("caddy", 0o640)
    deadline = time.monotonic() + 30
    while "/logged" not in log.content_string and time.monotonic() < deadline:
        time.sleep(0.2)
    entries = [json.loads(line) for line in log.content_string.splitlines()]
    logged = next(entry for entry in entries if entry["request"]["uri"].startswith("/logged"))
    assert "x=1" in logged["request"]["uri"]
    assert logged["status"] == 200
    assert marker not in log.content_string
    assert "marker-of-a-cookie" not in log.content_string


def test_the_access_log_is_rotated_before_it_fills_the_disk(host: Host, client: Client) -> None:
    folder = "/var/log/caddy"
    # As large as it may become, in a moment; the server looks at the size when it opens the file.
    host.check_output(f"systemctl stop caddy && truncate --size=20M {folder}/access.log && systemctl start caddy")
    before = pid(host)
    assert client.ask(API, "/rotated").status == 200
    wait_until(lambda: host.run(f"ls {folder}/access-*.log.gz && ! ls {folder}/access-*.log").rc == 0, "a rotation")
    assert (client.ask(API, "/").status, pid(host)) == (200, before)
    assert host.file(f"{folder}/access.log").size < 1_000_000
    modes = host.check_output(f"stat --format='%U %a' {folder}/access.log {folder}/access-*").splitlines()
    assert set(modes) == {"caddy 640"}
    host.check_output(f"rm {folder}/access-*")


def test_a_request_waits_for_a_service_that_is_being_replaced(host: Host, client: Client) -> None:
    host.check_output("systemctl stop upstream@18080")
    host.check_output(
        "systemd-run --quiet --on-active=2 --timer-property=AccuracySec=100ms systemctl start upstream@18080"
    )
    assert client.ask(API, "/patient", "POST", b"x").status == 200


def test_the_unit_is_hardened(host: Host) -> None:
    for unit in ("caddy.service", "sapflux-certificates.service"):
        report = host.check_output(f"systemd-analyze security --no-pager {unit}")
        overall = next(line for line in report.splitlines() if "Overall exposure level" in line)
        assert float(overall.split(":")[1].split()[0]) <= 2.0, overall
    shown = dict(line.split("=", 1) for line in host.check_output("systemctl show caddy.service").splitlines())
    assert (shown["User"], shown["MemoryMax"], shown["LimitNOFILE"]) == ("caddy", str(256 * 2**20), "65536")
    assert "--environ" not in shown["ExecStart"]
    status = host.file(f"/proc/{pid(host)}/status").content_string
    assert "CapEff:\t0000000000000400" in status
    assert "NoNewPrivs:\t1" in status


def test_the_admin_interface_is_a_socket_for_the_server_alone(host: Host) -> None:
    admin = host.file("/run/caddy/admin.sock")
    assert (admin.is_socket, admin.user, admin.mode & 0o077) == (True, "caddy", 0)


def test_the_program_in_use_is_the_pinned_one(host: Host) -> None:
    running = host.check_output(f"readlink /proc/{pid(host)}/exe")
    assert running == host.check_output("readlink -f /usr/local/bin/caddy")
    modules = host.check_output("/usr/local/bin/caddy list-modules --skip-standard")
    assert "dns.providers.cloudflare" in modules.split()


def test_a_changed_site_is_a_reload_that_drops_nothing(host: Host, client: Client) -> None:
    before, stop = pid(host), client.steady(API)
    result = apply({"caddy_hsts_max_age": 600})
    assert (result.rc, result.changed) == (0, 1), result.output
    assert client.ask(API, "/").headers["strict-transport-security"] == "max-age=600"
    assert apply().rc == 0
    assert (stop(), pid(host)) == ([], before)


def test_a_configuration_caddy_refuses_changes_nothing(host: Host, client: Client) -> None:
    before, config, stop = pid(host), host.file("/etc/caddy/Caddyfile").content_string, client.steady(API)
    result = apply({"caddy_email": "two words"})
    assert result.rc != 0
    assert "nothing was installed" in result.output
    assert "wrong argument count" in result.output.lower()
    assert host.file("/etc/caddy/Caddyfile").content_string == config
    assert (stop(), pid(host)) == ([], before)


def test_a_value_that_is_no_host_name_never_reaches_the_host(client: Client) -> None:
    result = apply({"caddy_sites": [{**NEW_SITE, "hostname": "new.sapflux.test {"}]})
    assert result.rc != 0
    assert "write a full host name in lower case" in result.output
    assert client.ask(API, "/").status == 200


@contextmanager
def no_new_certificates(host: Host) -> Iterator[None]:
    """As long as this lasts Caddy cannot store a certificate, so a new site cannot be served."""
    store = f"{STORAGE}/certificates/local"
    host.check_output(f"chown root {store} && chmod 0755 {store}")
    try:
        yield
    finally:
        host.check_output(f"chown caddy {store} && chmod 0700 {store}")


def test_a_site_that_does_not_come_up_is_put_back_while_the_others_serve(host: Host, client: Client) -> None:
    config, stop = host.file("/etc/caddy/Caddyfile").content_string, client.steady(API)
    with no_new_certificates(host):
        result = apply({"caddy_sites": [API_SITE, NEW_SITE]})
        assert result.rc != 0
        assert "put back" in result.output
        assert "https://new.sapflux.test:443 does not answer" in result.output
        assert host.file("/etc/caddy/Caddyfile").content_string == config
    assert stop() == []
    with pytest.raises(ssl.SSLError):
        client.connect("new.sapflux.test")
    assert apply({}, "--check").changed == 0


def test_a_program_without_the_modules_is_refused_before_anything_leads_to_it(host: Host, client: Client) -> None:
    before, link = pid(host), host.check_output("readlink -f /usr/local/bin/caddy")
    result = apply({"caddy_required_modules": ["dns.providers.nobody"], "caddy_version": "0.0.1"})
    assert result.rc != 0
    assert "this program lacks dns.providers.nobody" in result.output
    assert host.check_output("readlink -f /usr/local/bin/caddy") == link
    assert not host.run("ls -d /usr/local/lib/sapflux/caddy/0.0.1-*").succeeded
    assert (pid(host), client.ask(API, "/").status) == (before, 200)


def test_a_program_with_another_digest_is_refused_with_both_named(client: Client) -> None:
    result = apply({"caddy_sha256": "0" * 64})
    assert result.rc != 0
    assert "wanted is " + "0" * 64 in result.output
    assert client.ask(API, "/").status == 200


def test_a_new_version_is_a_restart_and_the_old_one_stays_at_hand(host: Host, client: Client) -> None:
    before = host.check_output(f"readlink /proc/{pid(host)}/exe")
    assert apply({"caddy_version": "9.9.9"}).rc == 0
    after = host.check_output(f"readlink /proc/{pid(host)}/exe")
    assert "/caddy/9.9.9-" in after
    assert host.file(before).exists
    assert client.ask(API, "/").status == 200
    assert apply().rc == 0
    assert host.check_output(f"readlink /proc/{pid(host)}/exe") == before


def test_absent_keeps_the_authority_and_present_comes_back_with_it(host: Host, client: Client) -> None:
    root = host.file(f"{STORAGE}/pki/authorities/local/root.crt").content_string
    result = apply({"caddy_state": "absent"})
    assert result.rc == 0, result.output
    assert apply({"caddy_state": "absent"}).changed == 0
    unit = "/etc/systemd/system/caddy.service"
    for path in ("/etc/caddy", "/usr/local/bin/caddy", "/usr/local/lib/sapflux/caddy", unit):
        assert not host.file(path).exists, path
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((client.address, 443), 5)
    assert apply().rc == 0
    assert host.file(f"{STORAGE}/pki/authorities/local/root.crt").content_string == root
    assert client.ask(API, "/").status == 200
