"""The networks of Cloudflare's edge: what is believed, what is refused, and what a run leaves behind."""

from __future__ import annotations

import json
import pathlib
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare_ips import CIDRS
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare_ranges import (
    RangesError,
    fetch,
    implausible,
    parse,
    render,
    stored,
)

from tests.unit.fixtures import ROOT, document
from tests.unit.fixtures.playbook import Project, Result

V4 = [cidr for cidr in CIDRS if ":" not in cidr]
V6 = [cidr for cidr in CIDRS if ":" in cidr]
HTML = b"<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head></html>"


def answer(v4: list[Any] = V4, v6: list[Any] = V6, **more: Any) -> bytes:
    """An answer of the API, in its own order."""
    result = {"ipv4_cidrs": list(reversed(v4)), "ipv6_cidrs": v6, "etag": "38f79d050aa027e3be3865e495dcc9bc"}
    return json.dumps({"result": result, "success": True, "errors": [], "messages": [], **more}).encode()


# One scripted answer: status, body, and how many bytes of it the server says there are.
Script = list[tuple[int, bytes, int | None]]


class Edge:
    """A server that gives scripted answers, one a request and the last one from then on."""

    def __init__(self) -> None:
        self.script: Script = [(200, answer(), None)]
        self.requests: list[str] = []
        edge = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                edge.requests.append(self.path)
                status, body, length = edge.script.pop(0) if len(edge.script) > 1 else edge.script[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                if status in (301, 302):
                    self.send_header("Location", "http://192.0.2.1/")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/client/v4/ips"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def edge() -> Iterator[Edge]:
    """Cloudflare's API, which answers with the list that ships unless told otherwise."""
    edge = Edge()
    yield edge
    edge.server.shutdown()
    edge.server.server_close()


def test_the_answer_is_canonical_and_sorted(edge: Edge) -> None:
    """Whatever order the API has."""
    assert fetch(edge.url) == list(CIDRS)


@pytest.mark.parametrize(
    "first",
    [
        (503, HTML, None),
        (500, b"", None),
        (429, b'{"success": false}', None),
        (200, answer()[:100], len(answer())),
        (200, b"", 700),
    ],
    ids=["503 with a page", "500", "too many requests", "cut in the middle", "cut before the first byte"],
)
def test_what_may_pass_is_tried_again(edge: Edge, first: tuple[int, bytes, int | None]) -> None:
    """The second try finds the list."""
    edge.script = [first, (200, answer(), None)]
    assert fetch(edge.url, pauses=[0]) == list(CIDRS)
    assert len(edge.requests) == 2


@pytest.mark.parametrize(
    ("script", "tries", "words"),
    [
        ((503, HTML, None), 3, "in 3 tries (it answers 503"),
        ((200, answer()[:100], 900), 3, "in 3 tries (it stopped after 100 of 900 bytes)"),
        ((404, HTML, None), 1, "answers 404"),
        ((302, b"", None), 1, "answers 302"),
        ((200, HTML, None), 1, "something else than a list of networks: '<!DOCTYPE html>"),
        ((200, b"", None), 1, "something else than a list of networks"),
        ((200, b"[]", None), 1, "something else than a list of networks"),
        ((200, b'{"success": true}', None), 1, "something else than a list of networks"),
        ((200, b'{"success": true, "result": null}', None), 1, "something else than a list of networks"),
        ((200, answer(success=False, errors=[{"code": 1000}]), None), 1, "reports a failure: [{'code': 1000}]"),
        ((200, answer(v4=["cloud"]), None), 1, "lists 'cloud', which is no network"),
        ((200, answer(v4=["104.16.0.1/13"]), None), 1, "lists '104.16.0.1/13', which is no network"),
        ((200, answer(v4=[None]), None), 1, "lists None, which is no network"),
        ((200, b"x" * (1 << 21), None), 1, "more than 1048576 bytes"),
    ],
)
def test_what_is_no_list_is_refused(edge: Edge, script: tuple[int, bytes, int | None], tries: int, words: str) -> None:
    """One sentence that says what came instead, and no try more than may help."""
    edge.script = [script]
    with pytest.raises(RangesError, match=re.escape(words)):
        fetch(edge.url, pauses=[0, 0])
    assert len(edge.requests) == tries


def test_nobody_listening_is_a_sentence(edge: Edge) -> None:
    """A refused connection is named after the last try."""
    edge.server.shutdown()
    edge.server.server_close()
    with pytest.raises(RangesError, match=r"in 2 tries .*refused"):
        fetch(edge.url, pauses=[0])


def test_an_answer_anybody_could_give_is_not_asked_for() -> None:
    """Plain http is for this machine only."""
    with pytest.raises(RangesError, match="is not https"):
        fetch("http://api.cloudflare.com/client/v4/ips")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _old: [], ["it has no IPv4 network", "it has no IPv6 network"]),
        (lambda _old: V4, ["it has no IPv6 network"]),
        (lambda _old: [*V4[:7], *V6], ["it keeps 7 of 15 IPv4 networks"]),
        (lambda _old: [*V4, *V6[:3]], ["it keeps 3 of 7 IPv6 networks"]),
        (lambda old: [*old, "64.0.0.0/7"], ["64.0.0.0/7 is wider than /8"]),
        (lambda old: [*old, "2400::/12"], ["2400::/12 is wider than /24", "2400::/12 and 2400:cb00::/32 overlap"]),
        (lambda old: [*old, "10.0.0.0/16"], ["10.0.0.0/16 is not a network of the public internet"]),
        (lambda old: [*old, "100.64.0.0/10"], ["100.64.0.0/10 is not a network of the public internet"]),
        (lambda old: [*old, "fd00::/32"], ["fd00::/32 is not a network of the public internet"]),
        (lambda old: [*old, "104.16.1.0/24"], ["104.16.0.0/13 and 104.16.1.0/24 overlap"]),
        (lambda old: [*old, *(f"9.{n}.0.0/16" for n in range(11))], ["it adds 11 networks at once"]),
        (lambda old: [*old, "0.0.0.0/0"], ["0.0.0.0/0 is wider than /8"]),
    ],
)
def test_an_implausible_change_is_refused(change: Callable[[list[str]], list[str]], words: list[str]) -> None:
    """Each reason is named."""
    found = "; ".join(implausible(list(CIDRS), change(list(CIDRS))))
    for word in words:
        assert word in found


@pytest.mark.parametrize(
    "change",
    [
        lambda old: old,
        lambda old: [*old, "8.8.8.0/24"],
        lambda old: old[2:],
        lambda old: [*old[:7], *old[8:], "9.9.0.0/16", "2a0a::/29"],
    ],
    ids=["none", "one more", "two less", "some of both"],
)
def test_a_change_as_there_have_been_is_believed(change: Callable[[list[str]], list[str]]) -> None:
    """Networks come and go."""
    assert implausible(list(CIDRS), change(list(CIDRS))) == []


def test_what_is_written_is_read_again() -> None:
    """The file is valid for Ansible and holds the list and nothing else."""
    text = render("edge", CIDRS, "https://example.org")
    assert yaml.safe_load(text) == {"edge": list(CIDRS)}
    assert stored(text, "edge", "x.yml") == list(CIDRS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("site: {}\n", "does not hold a list of networks in edge"),
        ("edge: 5\n", "does not hold a list of networks in edge"),
        ("edge: [x]\n", "does not hold a list of networks in edge"),
        ("{[", "does not hold a list of networks in edge"),
        ('edge: ["192.0.2.0/24"]\nother: 1\n', "holds more than edge"),
    ],
)
def test_somebody_elses_file_is_not_overwritten(text: str, words: str) -> None:
    """A path that was meant for another file is refused."""
    with pytest.raises(RangesError, match=words):
        stored(text, "edge", "x.yml")


def test_parse_keeps_every_network() -> None:
    """Nothing is joined here, so that the list can be compared with what Cloudflare publishes."""
    assert parse(answer(["104.24.0.0/14", "104.28.0.0/14"], ["2400:cb00::/32"])) == [
        "104.24.0.0/14",
        "104.28.0.0/14",
        "2400:cb00::/32",
    ]


class Refresh:
    """The playbook refresh_networks on an inventory of its own."""

    def __init__(self, folder: pathlib.Path, edge: Edge) -> None:
        self.project = Project(folder, document(), {})
        self.file = folder / "group_vars" / "all" / "cloudflare_cidrs.yml"
        self.edge = edge

    def run(self, *arguments: str) -> Result:
        """Run it; the hosts of the inventory answer nobody, so it must not ask them."""
        plays = yaml.safe_load((ROOT / "playbooks" / "refresh_networks.yml").read_text(encoding="utf-8"))
        return self.project.run(plays, "-e", f"cloudflare_ranges_url={self.edge.url}", *arguments)


@pytest.fixture
def refresh(tmp_path: pathlib.Path, edge: Edge) -> Refresh:
    """Nothing was refreshed yet."""
    return Refresh(tmp_path, edge)


def test_the_list_that_ships_needs_no_file(refresh: Refresh) -> None:
    """Nothing changed, so nothing is written."""
    done = refresh.run()
    assert done.code == 0, done.output
    assert "changed=0 " in done.output
    assert "the list is current" in done.output
    assert not refresh.file.exists()


def test_a_changed_list_is_shown_written_once_and_used(refresh: Refresh) -> None:
    """Check mode shows it, a run writes it, the next run finds nothing to do, and it is what the word stands for."""
    refresh.edge.script = [(200, answer([*V4[1:], "198.18.0.0/15", "8.8.8.0/24"]), None)]
    refused = refresh.run()
    assert refused.code == 2
    assert "198.18.0.0/15 is not a network of the public internet" in re.sub(r"\s+", " ", refused.output)

    refresh.edge.script = [(200, answer([*V4[1:], "8.8.8.0/24"]), None)]
    checked = refresh.run("--check")
    assert "changed=1 " in checked.output
    assert "8.8.8.0/24" in checked.output
    assert not refresh.file.exists()

    done = refresh.run()
    assert "changed=1 " in done.output
    assert f"added 8.8.8.0/24; removed {V4[0]}; run site.yml" in re.sub(r"\s+", " ", done.output)
    assert refresh.file.stat().st_mode & 0o777 == 0o644
    written = yaml.safe_load(refresh.file.read_text(encoding="utf-8"))["cloudflare_cidrs"]
    assert written == ["8.8.8.0/24", *V4[1:], *V6]
    assert [path.name for path in refresh.file.parent.iterdir() if path.name.startswith(".")] == []

    before = refresh.file.read_bytes()
    assert "changed=0 " in refresh.run().output
    assert refresh.file.read_bytes() == before


def test_an_answer_that_is_not_believed_leaves_the_file(refresh: Refresh) -> None:
    """The old list stays in use, byte for byte, and the sentence says why."""
    refresh.edge.script = [(200, answer(V4[1:]), None)]
    assert refresh.run().code == 0
    before = refresh.file.read_bytes()
    for body in (answer([], V6), HTML):
        refresh.edge.script = [(200, body, None)]
        done = refresh.run()
        assert done.code == 2
        assert "the old one stays in use" in re.sub(r"\s+", " ", done.output) or "something else" in done.output
        assert refresh.file.read_bytes() == before


def test_a_variables_file_is_not_hidden_by_a_folder(refresh: Refresh, tmp_path: pathlib.Path) -> None:
    """Ansible reads group_vars/all or group_vars/all.yml, never both: making the folder would lose the document."""
    folder = tmp_path / "group_vars" / "all"
    (folder / "site.yml").rename(tmp_path / "group_vars" / "all.yml")
    folder.rmdir()
    refresh.edge.script = [(200, answer(V4[1:]), None)]
    done = refresh.run()
    assert done.code == 2
    assert "would hide" in re.sub(r"\s+", " ", done.output)
    assert not folder.exists()
