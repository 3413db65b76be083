"""The vars plugin of Doppler: one variable of one download, for everybody, shared with the lookup, or one sentence."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.inventory.group import Group
from ansible.inventory.host import Host
from ansible.parsing.dataloader import DataLoader
from ansible_collections.sapflux.hosting.plugins.lookup import doppler as lookup
from ansible_collections.sapflux.hosting.plugins.module_utils import _doppler, _http
from ansible_collections.sapflux.hosting.plugins.vars import doppler as plugin

from tests.doubles.doppler import Doppler, doppler
from tests.unit.fixtures import ROOT
from tests.unit.plugins.module_utils.scripted_http import Call, Script

BASE = "https://api.example.org"
TOKEN = f"dp.st.prd.{'A1' * 20}"
DOWNLOAD = "/v3/configs/config/secrets/download?format=json"
VALUES = {"A": "plain-marker-xyzzy", "B": "{{ 7 * 7 }}"}
ANSWER = {**VALUES, "DOPPLER_PROJECT": "app", "DOPPLER_ENVIRONMENT": "prd", "DOPPLER_CONFIG": "prd"}


@pytest.fixture(autouse=True)
def _run_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DOPPLER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(_doppler, "pause", lambda _seconds: None)


def script(monkeypatch: pytest.MonkeyPatch, *calls: Call) -> Script:
    """The API is a script."""
    made = Script(BASE, calls)
    monkeypatch.setattr(_http, "urllib_opener", made)
    return made


def given(*entities: Any, **options: Any) -> dict[str, Any]:
    """What the plugin gives these groups and hosts, with its options set as Ansible's loader sets them."""
    documented = yaml.safe_load(plugin.DOCUMENTATION)["options"]
    constants.config.initialize_plugin_configuration_definitions("vars", "sapflux.hosting.doppler", documented)
    made = plugin.VarsModule()
    made._load_name = "sapflux.hosting.doppler"
    made.set_options(direct={"base_url": BASE, "token": TOKEN, **options})
    return dict(made.get_vars(DataLoader(), "/nowhere", list(entities)))


def test_all_secrets_are_one_variable_of_one_download(monkeypatch: pytest.MonkeyPatch) -> None:
    played = script(monkeypatch, Call("GET", DOWNLOAD, ANSWER))
    assert given(Group("all")) == {"secrets": VALUES}
    assert given(Group("edge"), Group("all"), variable="ours") == {"ours": VALUES}
    assert given(Group("edge")) == given(Host("one")) == given() == {}
    played.done()


def test_names_that_are_not_asked_for_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    played = script(monkeypatch, Call("GET", f"{DOWNLOAD}&secrets=A", {"A": "1"}))
    assert given(Group("all"), only=["A"]) == {"secrets": {"A": "1"}}
    played.done()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"token": None}, "there is no token of Doppler: give token, or set DOPPLER_TOKEN"),
        ({"token": f"dp.pt.{'B2' * 20}"}, "project"),
        ({"oidc_identity": "one"}, "oidc_identity needs oidc_token"),
        ({"oidc_identity": "one", "oidc_token": "a.b.c"}, "give both project and config"),
    ],
)
def test_what_does_not_say_enough_is_refused_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], says: str
) -> None:
    script(monkeypatch)
    with pytest.raises(AnsibleError, match=says):
        given(Group("all"), **options)


def test_a_refusal_ends_it_in_one_sentence_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {"messages": ["Invalid Service token"], "success": False}
    script(monkeypatch, Call("GET", DOWNLOAD, refused, status=401))
    with pytest.raises(AnsibleError, match="Invalid Service token") as caught:
        given(Group("all"))
    assert TOKEN not in str(caught.value)


def test_it_takes_what_the_lookup_takes() -> None:
    """All but what a lookup alone has: terms, and variables of the play."""
    theirs = yaml.safe_load(lookup.DOCUMENTATION)["options"]
    ours = yaml.safe_load(plugin.DOCUMENTATION)["options"]
    assert set(theirs) - set(ours) == {"_terms", "default", "required", "fresh"}
    for name in set(ours) & set(theirs) - {"only"}:
        assert {**theirs[name], "vars": None} == {**ours[name], "vars": None}
    # A file of settings is no place for a token.
    assert [name for name in ("token", "oidc_token") if "ini" in ours[name]] == []


def run(folder: pathlib.Path, double: Doppler, **environment: str) -> subprocess.CompletedProcess[str]:
    """A real run on ten hosts that uses the variable and the lookup."""
    hosts = {"hosts": {f"h{number}": {"ansible_connection": "local"} for number in range(10)}}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": hosts}))
    (folder / "ansible.cfg").write_text(
        "[defaults]\nforks = 10\nvars_plugins_enabled = host_group_vars, sapflux.hosting.doppler\n"
    )
    that = [
        "secrets.A == 'plain-marker-xyzzy'",
        "secrets.B == '{' ~ '{ 7 * 7 }' ~ '}'",
        "secrets | length == 2",
        "lookup('sapflux.hosting.doppler') == secrets",
    ]
    task = {"name": "They are there", "ansible.builtin.assert": {"that": that}}
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    return subprocess.run(
        [
            str(pathlib.Path(sys.executable).parent / "ansible-playbook"),
            *("-vvv", "-i", str(folder / "hosts.yml"), str(folder / "play.yml")),
        ],
        env=os.environ
        | {
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
            "ANSIBLE_HOME": str(folder / "home"),
            "ANSIBLE_NOCOLOR": "1",
            "DOPPLER_API_HOST": double.url,
            **environment,
        },
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
    )


def test_a_run_on_ten_hosts_is_one_request_lookups_included(tmp_path: pathlib.Path) -> None:
    double = doppler()
    double.add_config("app", "prd", VALUES)
    double.add_token(TOKEN, ["app/prd"])
    with double.running():
        done = run(tmp_path, double, DOPPLER_TOKEN=TOKEN)
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        assert output.count('"All assertions passed"') == 10
        assert [(seen.path, seen.status) for seen in double.log] == [("/v3/configs/config/secrets/download", 200)]
        assert [secret for secret in (TOKEN, *VALUES.values()) if secret in output] == []
        assert [path for path in (tmp_path / "home").rglob("*doppler*") if path.is_file()] == []


def test_a_run_without_a_token_does_not_begin(tmp_path: pathlib.Path) -> None:
    double = doppler()
    with double.running():
        done = run(tmp_path, double)
    assert done.returncode != 0
    assert "give token, or set DOPPLER_TOKEN" in done.stdout + done.stderr
    assert double.log == []
