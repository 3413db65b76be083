"""What the bed's tailnet writes and asks, without a tailnet."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.bed import hosts, packages, pki, tailnet
from tests.bed.shell import BedError

SAID = {
    "id": "7",
    "name": "web",
    "given_name": "web-1",
    "ip_addresses": ["100.64.0.7", "fd7a:115c:a1e0::7"],
    "tags": ["tag:server"],
    "online": True,
}
Asked = list[tuple[str, ...]]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Asked]:
    """Let headscale give these answers by subcommand; what it was asked is in the list that comes back."""

    def prepare(replies: dict[str, Any]) -> Asked:
        asked: Asked = []

        def ask(*arguments: str) -> Any:
            asked.append(arguments)
            return replies.get(" ".join(arguments[:2]), {})

        monkeypatch.setattr(tailnet, "_ask", ask)
        return asked

    return prepare


def test_nothing_in_the_configuration_leads_outside() -> None:
    configuration = tailnet.configuration()
    derp = configuration["derp"]
    assert derp["server"]["enabled"] is True
    assert (derp["urls"], derp["paths"], derp["auto_update_enabled"]) == ([], [], False)
    assert configuration["disable_check_updates"] is True
    assert configuration["logtail"] == {"enabled": False}
    assert configuration["dns"]["nameservers"] == {"global": [], "split": {}}
    # Headscale refuses a server name within the tailnet's own domain.
    assert not tailnet.NAME.endswith(tailnet.DOMAIN)
    json.dumps(configuration)


def test_every_tag_has_an_owner() -> None:
    assert tailnet.policy()["tagOwners"] == {tag: ["bed@"] for tag in tailnet.TAGS}


def test_a_node_is_read() -> None:
    node = tailnet.parse(SAID)
    assert node == tailnet.Node(7, "web-1", "web", ("100.64.0.7", "fd7a:115c:a1e0::7"), ("tag:server",), True, None)
    assert (node.ipv4, node.ipv6, node.dns_name) == ("100.64.0.7", "fd7a:115c:a1e0::7", "web-1.tailnet.test")


def test_a_node_with_few_words_is_read() -> None:
    assert tailnet.parse({"id": "1", "expiry": {"seconds": 1795567441, "nanos": 1}}) == tailnet.Node(
        1, "", "", (), (), False, 1795567441
    )


def test_the_newest_of_a_name_is_found(answers: Callable[[dict[str, Any]], Asked]) -> None:
    answers({"nodes list": [SAID | {"id": "10"}, SAID, SAID | {"id": "8", "name": "db", "given_name": "db"}]})
    assert [node.id for node in tailnet.nodes()] == [7, 8, 10]
    assert tailnet.node("web").id == 10
    assert tailnet.find("app") is None
    with pytest.raises(BedError, match="the tailnet has no node app"):
        tailnet.node("app")


def test_all_of_a_name_are_deleted_and_no_others(answers: Callable[[dict[str, Any]], Asked]) -> None:
    asked = answers({"nodes list": [SAID, SAID | {"id": "8", "name": "db", "given_name": "db"}, SAID | {"id": "9"}]})
    tailnet.delete("web")
    assert asked[1:] == [("nodes", "delete", "--identifier", number, "--force") for number in ("7", "9")]


def test_nodes_are_expired_and_renamed_by_number(answers: Callable[[dict[str, Any]], Asked]) -> None:
    asked = answers({"nodes list": [SAID]})
    tailnet.expire("web")
    tailnet.rename("web", "shop")
    assert ("nodes", "expire", "--identifier", "7") in asked
    assert asked[-1] == ("nodes", "rename", "--identifier", "7", "shop")


def test_a_tagged_key_is_nobodys(answers: Callable[[dict[str, Any]], Asked]) -> None:
    asked = answers({"preauthkeys create": {"key": "hskey"}})
    assert tailnet.key(("tag:server", "tag:runner"), reusable=True, expiry="1s") == "hskey"
    assert asked == [("preauthkeys", "create", "--expiration", "1s", "--tags", "tag:server,tag:runner", "--reusable")]


def test_a_key_without_tags_is_the_users(answers: Callable[[dict[str, Any]], Asked]) -> None:
    asked = answers({"preauthkeys create": {"key": "hskey"}, "users list": [{"id": "3", "name": "bed"}]})
    assert tailnet.key((), ephemeral=True) == "hskey"
    assert asked[-1] == ("preauthkeys", "create", "--expiration", "1h", "--user", "3", "--ephemeral")


def test_a_tag_without_an_owner_is_refused(answers: Callable[[dict[str, Any]], Asked]) -> None:
    asked = answers({})
    with pytest.raises(BedError, match=r"policy has no tag:web: there are tag:server, tag:operator, tag:runner"):
        tailnet.key(("tag:server", "tag:web"))
    assert asked == []


@pytest.mark.parametrize(
    "script", [tailnet.PREPARE, tailnet.INSTALL.format(key=packages.key_url())], ids=["prepare", "install"]
)
def test_preparations_are_valid_shell(script: str) -> None:
    subprocess.run(["sh", "-n"], input=script.encode(), check=True)


def test_the_alias_keeps_the_identity_and_goes_through_the_operator() -> None:
    config = "Host web\n  HostName 10.83.128.2\n  HostKeyAlias bed-web\n  User ops\n"
    assert tailnet.ssh_alias(config, "web-tailnet", "web.tailnet.test", Path("/bed/ssh_config")) == (
        "Host web-tailnet\n  HostName web.tailnet.test\n"
        "  ProxyCommand ssh -F /bed/ssh_config -o ControlPath=none operator sudo tailscale nc %h %p\n"
        "  HostKeyAlias bed-web\n  User ops\n"
    )


def test_the_alias_is_written_beside_the_host_and_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "STATE", tmp_path)
    monkeypatch.setattr(hosts, "exists", lambda _: False)
    (tmp_path / "hosts").mkdir()
    with pytest.raises(BedError, match="this bed has no host web") as caught:
        tailnet.alias("web")
    assert caught.value.hint == "python -m tests.bed up web"
    (tmp_path / "hosts" / "web.conf").write_text("Host web\n  HostName 10.83.128.2\n  User ops\n")
    assert tailnet.alias("web") == "web-tailnet"
    assert "  HostName web.tailnet.test\n" in (tmp_path / "hosts" / "web-tailnet.conf").read_text()
    hosts.down("web")
    assert list((tmp_path / "hosts").iterdir()) == []


def test_the_server_certificate_chains_to_its_ca_and_carries_name_and_address() -> None:
    issued = pki.issue("test CA", ("a.test", "b.test"), ("192.0.2.1",))
    leaf = x509.load_pem_x509_certificate(issued.certificate.encode())
    root = x509.load_pem_x509_certificate(issued.ca.encode())
    leaf.verify_directly_issued_by(root)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.test", "b.test"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1"]
    assert "PRIVATE KEY" not in issued.ca + issued.certificate
    ssl.create_default_context(cadata=issued.ca)
