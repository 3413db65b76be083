"""Running one of Doppler's modules for real, against a script or against a double on a port of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.module_utils import _doppler, _http

from tests.doubles.doppler import Doppler, doppler
from tests.unit.plugins.module_utils.scripted_http import Call, Script

BASE = "https://api.example.org"
TOKEN = f"dp.sa.{'A1' * 20}"
CHECK = {"_ansible_check_mode": True, "_ansible_diff": True}
WHERE = {"project": "app", "config": "prd"}


class Runner:
    """Runs one module on the config app/prd; ``secrets`` are looked for in all that it prints."""

    def __init__(self, module: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.module = module
        self.capsys = capsys
        self.monkeypatch = monkeypatch
        self.secrets = [TOKEN]
        self.base = BASE
        self.port, self.through = 0, ""
        monkeypatch.setattr(_doppler, "pause", lambda _seconds: None)
        # A module is no controller, though this process is one as soon as another test has loaded Ansible's plugins.
        monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)

    def __call__(self, **arguments: Any) -> dict[str, Any]:
        """What the module answers."""
        # Ansible gathers warnings per process, and a module is one.
        warnings._global_warnings.clear()
        given = {"token": TOKEN, "base_url": self.base, **WHERE, **arguments}
        given = {name: value for name, value in given.items() if value is not None}
        with patch_module_args(given), pytest.raises(SystemExit):
            self.module.main()
        text = self.capsys.readouterr().out
        assert [secret for secret in self.secrets if secret in text] == []
        result: dict[str, Any] = json.loads(text)
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
    def double(self, values: dict[str, str] | None = None) -> Iterator[Doppler]:
        """The API is the double, with one config app/prd.

        It listens on ``port`` where that is set, and is asked through the proxy ``through``.
        """
        double = doppler()
        double.add_config("app", "prd", values)
        double.add_token(TOKEN, access="read/write")
        with double.running(port=self.port) as url:
            self.base = self.through or url
            yield double

    def check_then_do(self, double: Doppler, **arguments: Any) -> dict[str, Any]:
        """Check mode writes nothing and says what the run then does; a second run changes nothing.

        Answers the result of the run that changed things.
        """
        before = len(double.writes())
        planned = self(**arguments, **CHECK)
        assert planned.get("failed") is None, planned["msg"]
        assert double.writes()[before:] == []
        done = self(**arguments, _ansible_diff=True)
        assert done.get("failed") is None, done["msg"]
        assert (planned["changed"], planned["changes"]) == (done["changed"], done["changes"])
        assert planned.get("diff") == done.get("diff")
        before = len(double.writes())
        again = self(**arguments)
        assert (again["changed"], again["changes"]) == (False, [])
        assert double.writes()[before:] == []
        assert set(again) - {"invocation"} == set(done) - {"diff", "invocation"}
        return done
