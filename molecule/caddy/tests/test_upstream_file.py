"""A switch of the upstream by an atomic rename, and what stands before a route: who may ask, and maintenance."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from testinfra.host import Host

from tests.edge import Client, pid

WWW = "www.sapflux.test"
FILE = "/etc/upstreams/www"


def switch(host: Host, content: str) -> None:
    """Put another content in the file's place, as a deploy does."""
    host.check_output(f"printf '%s\\n' '{content}' >{FILE}.new && mv -f {FILE}.new {FILE}")


@pytest.fixture
def switched(host: Host) -> Iterator[None]:
    switch(host, "127.0.0.1:18080")
    yield
    host.check_output(f"rm -f {FILE} /run/closed")


@contextmanager
def keep_alive(client: Client) -> Iterator[http.client.HTTPConnection]:
    """One connection for several requests."""
    connection = http.client.HTTPConnection(WWW, timeout=20)
    connection.sock = client.connect(WWW)
    yield connection
    connection.close()


def port(connection: http.client.HTTPConnection) -> int:
    """The port of the service that answers on this connection."""
    connection.request("GET", "/switched/x", headers={"Host": WWW})
    return int(json.loads(connection.getresponse().read())["port"])


@pytest.mark.usefixtures("switched")
def test_a_rename_moves_the_next_request_of_the_same_connection(host: Host, client: Client) -> None:
    before = pid(host)
    with keep_alive(client) as connection:
        for wanted in (18080, 18081, 18080, 18081):
            switch(host, f"127.0.0.1:{wanted}")
            assert port(connection) == wanted
    assert pid(host) == before


@pytest.mark.usefixtures("switched")
def test_an_upload_in_progress_ends_where_it_began(host: Host, client: Client) -> None:
    half = b"x" * 2_000_000
    with keep_alive(client) as upload:
        upload.putrequest("POST", "/switched/upload")
        upload.putheader("Content-Length", str(2 * len(half)))
        upload.endheaders(half)
        switch(host, "127.0.0.1:18081")
        with keep_alive(client) as other:
            assert port(other) == 18081
        upload.send(half)
        told = json.loads(upload.getresponse().read())
    assert (told["port"], told["size"]) == (18080, 2 * len(half))


@pytest.mark.usefixtures("switched")
@pytest.mark.parametrize("content", ["", "127.0.0.1:1-9", "a b{c}"])
def test_a_file_that_names_no_service_is_502_and_nothing_worse(host: Host, client: Client, content: str) -> None:
    before = pid(host)
    switch(host, content)
    reply = client.ask(WWW, "/switched/x")
    assert (reply.status, reply.headers.get("strict-transport-security")) == (502, "max-age=300")
    assert client.ask(WWW, "/only").status == 200
    switch(host, "127.0.0.1:18080")
    assert (client.ask(WWW, "/switched/x").status, pid(host)) == (200, before)


def test_a_missing_file_is_502_until_it_comes(host: Host, client: Client) -> None:
    assert client.ask(WWW, "/switched/x").status == 502
    # A request waits for a file that comes within the time a replaced service is given.
    host.check_output(
        f"printf '127.0.0.1:18081' >{FILE}.new; "
        f"systemd-run --quiet --on-active=1 --timer-property=AccuracySec=100ms mv {FILE}.new {FILE}"
    )
    assert json.loads(client.ask(WWW, "/switched/x").body)["port"] == 18081
    host.check_output(f"rm {FILE}")


def test_a_route_for_some_networks_asks_the_connection_and_no_header(client: Client) -> None:
    me = "100.64.0.7"
    assert client.ask(WWW, "/inside").status == 404
    assert client.ask(WWW, "/inside", X_Forwarded_For=me, Cf_Connecting_Ip=me, X_Real_Ip=me).status == 404
    assert client.ask(WWW, "/neighbours").status == 200


@pytest.mark.usefixtures("switched")
def test_maintenance_is_a_file_that_exists(host: Host, client: Client) -> None:
    host.check_output("touch /run/closed")
    reply = client.ask(WWW, "/switched/x")
    assert (reply.status, reply.headers["retry-after"], reply.headers["cache-control"]) == (503, "30", "no-store")
    assert client.ask(WWW, "/inside").status == 404
    assert client.ask("api.sapflux.test", "/").status == 200
    host.check_output("rm /run/closed")
    assert client.ask(WWW, "/switched/x").status == 200
