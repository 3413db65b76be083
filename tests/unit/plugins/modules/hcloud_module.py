"""Running a module for Hetzner for real, against the double on a port of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.module_utils import _hcloud
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_hcloud as derive
from ansible_collections.sapflux.hosting.plugins.module_utils._hcloud import Hcloud
from ansible_collections.sapflux.hosting.plugins.module_utils._hcloud_plan import first_address
from ansible_collections.sapflux.hosting.plugins.module_utils._site_complete import complete

from tests.doubles.hetzner import PREFIX, Hetzner, hetzner
from tests.doubles.web import Request
from tests.unit.fixtures import Mutation, document

TOKEN = "tok-en_that-must-not-show"
CHECK = {"_ansible_check_mode": True, "_ansible_diff": True}


def wanted(*mutations: Mutation, **more: Any) -> dict[str, Any]:
    """What the valid document, changed, stands for."""
    return derive.resources(complete(document(*mutations)), **more)


class Runner:
    """Runs one module; the token is looked for in all that it prints."""

    def __init__(self, module: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.module = module
        self.capsys = capsys
        self.base = ""
        self.port, self.through = 0, ""
        monkeypatch.setattr(_hcloud, "pause", lambda _seconds: None)
        # A module is no controller, though this process is one as soon as another test has loaded Ansible's plugins.
        monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)

    def __call__(self, **arguments: Any) -> dict[str, Any]:
        """What the module answers."""
        warnings._global_warnings.clear()
        given = {"api_token": TOKEN, "api_endpoint": self.base, **arguments}
        with patch_module_args(given), pytest.raises(SystemExit):
            self.module.main()
        text = self.capsys.readouterr().out
        assert TOKEN not in text
        result: dict[str, Any] = json.loads(text)
        return result

    def fails(self, **arguments: Any) -> str:
        """How the module refuses."""
        result = self(**arguments)
        assert result["failed"] is True, result
        return str(result["msg"])

    @contextmanager
    def double(self, *mutations: Mutation, empty: bool = False) -> Iterator[Hetzner]:
        """The API is the double, with all that the document wants unless it is to be ``empty``."""
        made = hetzner()
        made.tokens[TOKEN] = "read-write"
        with made.running(port=self.port) as url:
            self.base = self.through or f"{url}{PREFIX}"
            if not empty:
                fill(Inside(made), wanted(*mutations))
                made.log.clear()
            yield made


class Inside:
    """Asks the double without a network between."""

    def __init__(self, double: Hetzner) -> None:
        self.double = double

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of an answer that is good."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        reply = self.double.handle(Request(method, f"{PREFIX}{path}", {}, headers, b"", body))
        assert reply.status < 400, reply.body
        return reply.body

    def act(self, path: str, body: Any) -> None:
        """An action, to its end."""
        self.ask("GET", f"/actions/{self.ask('POST', path, body)['action']['id']}")


def fill(cloud: Inside | Hcloud, resources: dict[str, Any]) -> None:
    """Make everything that is wanted, as the tasks of the role do."""

    def make(path: str, body: dict[str, Any]) -> int:
        answer = cloud.ask("POST", path, body=body)
        for action in [answer.get("action"), *(answer.get("next_actions") or [])]:
            if action:
                cloud.ask("GET", f"/actions/{action['id']}")
        return int(next(each["id"] for each in answer.values() if isinstance(each, dict) and "created" in each))

    keys = [make("/ssh_keys", {k: key[k] for k in ("name", "public_key", "labels")}) for key in resources["ssh_keys"]]
    network = resources["network"]
    net = make("/networks", {"name": network["name"], "ip_range": network["ip_range"], "labels": network["labels"]})
    cloud.act(f"/networks/{net}/actions/add_subnet", network["subnet"])
    group = make("/placement_groups", resources["placement_group"])
    wall = make("/firewalls", {key: resources["firewall"][key] for key in ("name", "labels", "rules")})
    ips = {}
    for address in resources["primary_ips"]:
        keep = ("name", "type", "location", "auto_delete", "labels")
        ips[address["name"]] = number = make("/primary_ips", {key: address[key] for key in keep})
        cloud.act(f"/primary_ips/{number}/actions/change_protection", {"delete": address["delete_protection"]})
        ip = first_address(cloud.ask("GET", f"/primary_ips/{number}")["primary_ip"])
        cloud.act(f"/primary_ips/{number}/actions/change_dns_ptr", {"ip": ip, "dns_ptr": address["dns_ptr"]})
    for server in resources["servers"]:
        body = {key: server[key] for key in ("name", "server_type", "image", "location", "labels", "user_data")}
        public = {"enable_ipv4": True, "enable_ipv6": True, "ipv4": ips[server["ipv4"]], "ipv6": ips[server["ipv6"]]}
        more = {"ssh_keys": keys, "networks": [net], "placement_group": group, "firewalls": [{"firewall": wall}]}
        number = make("/servers", {**body, **more, "public_net": public})
        protection = {"delete": server["delete_protection"], "rebuild": server["rebuild_protection"]}
        cloud.act(f"/servers/{number}/actions/change_protection", protection)
