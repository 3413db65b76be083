"""Running a cloud's module for real, against a script or against a double on a port of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.module_utils import _cloudflare, _http

from tests.doubles.cloudflare import Cloudflare, cloudflare, zones
from tests.unit.plugins.module_utils.scripted_http import Call, Script

BASE = "https://api.example.org"
TOKEN = "tok-en_that-must-not-show"
CHECK = {"_ansible_check_mode": True, "_ansible_diff": True}
ZONE = "0123456789abcdef0123456789abcdef"


def good(result: Any, **info: Any) -> dict[str, Any]:
    """Cloudflare's envelope."""
    return {"success": True, "errors": [], "messages": [], "result": result, "result_info": info}


def found(name: str = "example.org", plan: str = "free") -> Call:
    """The look-up of the zone."""
    zone = {"id": ZONE, "name": name, "plan": {"legacy_id": plan}}
    return Call("GET", f"/zones?name={name}&per_page=50", good([zone]))


class Runner:
    """Runs one module; ``secrets`` are looked for in all that it prints."""

    def __init__(self, module: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.module = module
        self.capsys = capsys
        self.monkeypatch = monkeypatch
        self.secrets = [TOKEN]
        self.base = BASE
        self.port, self.through = 0, ""
        monkeypatch.setattr(_cloudflare, "pause", lambda _seconds: None)
        # A module is no controller, though this process is one as soon as another test has loaded Ansible's plugins.
        monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)

    def __call__(self, **arguments: Any) -> dict[str, Any]:
        """What the module answers."""
        # Ansible gathers warnings per process, and a module is one.
        warnings._global_warnings.clear()
        given = {"api_token": TOKEN, "base_url": self.base, **arguments}
        with patch_module_args(given), pytest.raises(SystemExit):
            self.module.main()
        text = self.capsys.readouterr().out
        result: dict[str, Any] = json.loads(text)
        shown = json.dumps({key: value for key, value in result.items() if key != "invocation"})
        assert [secret for secret in self.secrets if secret in text] == []
        assert TOKEN not in shown
        return result

    def fails(self, **arguments: Any) -> str:
        """How the module refuses."""
        result = self(**arguments)
        assert result["failed"] is True, result
        return str(result["msg"])

    def script(self, *calls: Call) -> Script:
        """The API is a script."""
        script = Script(BASE, calls)
        self.monkeypatch.setattr(_http, "urllib_opener", script)
        return script

    @contextmanager
    def double(self, *groups: str, plan: str = "free") -> Iterator[tuple[Cloudflare, str]]:
        """The API is the double, with one zone example.org; gives the double and the zone's id.

        It listens on ``port`` where that is set, and is asked through the proxy ``through``.
        """
        cloud = cloudflare()
        cloud.add_token(TOKEN, "Zone Read", *groups)
        zone = zones.add_zone(cloud, "example.org", plan)
        with cloud.running(port=self.port) as url:
            self.base = self.through or f"{url}/client/v4"
            yield cloud, zone

    def check_then_do(self, cloud: Cloudflare, **arguments: Any) -> dict[str, Any]:
        """Check mode writes nothing and says what the run then does; a second run changes nothing.

        Answers the result of the run that changed things.
        """
        before = len(cloud.writes())
        planned = self(**arguments, **CHECK)
        assert planned.get("failed") is None, planned["msg"]
        assert [seen for seen in cloud.writes()[before:] if "dry_run" not in seen.query] == []
        done = self(**arguments, _ansible_diff=True)
        assert done.get("failed") is None, done["msg"]
        assert (planned["changed"], planned["changes"]) == (done["changed"], done["changes"])
        assert planned.get("diff") == done.get("diff")
        before = len(cloud.writes())
        again = self(**arguments)
        assert (again["changed"], again["changes"]) == (False, [])
        assert cloud.writes()[before:] == []
        assert set(again) - {"invocation"} == set(done) - {"diff", "invocation"}
        return done
