"""The lookup of Doppler: one download per run, what is missing, whose token needs what; nothing of it is printed."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import subprocess
import sys
import threading
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible_collections.sapflux.hosting.plugins.lookup import doppler as lookup
from ansible_collections.sapflux.hosting.plugins.module_utils import _doppler, _http
from ansible_collections.sapflux.hosting.plugins.module_utils._doppler_cache import Cache, Download

from tests.doubles.doppler import doppler
from tests.unit.fixtures import ROOT
from tests.unit.plugins.module_utils.scripted_http import Call, Script

BASE = "https://api.example.org"
TOKEN = f"dp.st.prd.{'A1' * 20}"
PERSON = f"dp.pt.{'B2' * 20}"
DOWNLOAD = "/v3/configs/config/secrets/download?format=json"
# One value looks like a template and must not become one.
VALUES = {"A": "plain-marker-xyzzy", "B": "{{ 7 * 7 }}", "C": "{% raw %}"}
ANSWER = {**VALUES, "DOPPLER_PROJECT": "app", "DOPPLER_ENVIRONMENT": "prd", "DOPPLER_CONFIG": "prd"}


@pytest.fixture(autouse=True)
def run_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A run of its own for every test, and no waiting."""
    for name in [name for name in os.environ if name.startswith("DOPPLER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(_doppler, "pause", lambda _seconds: None)
    return tmp_path


def play(monkeypatch: pytest.MonkeyPatch, *calls: Call) -> Script:
    """The API is a script."""
    script = Script(BASE, calls)
    monkeypatch.setattr(_http, "urllib_opener", script)
    return script


def plugin() -> lookup.LookupModule:
    """The plugin with its options, as Ansible's loader hands it out."""
    options = yaml.safe_load(lookup.DOCUMENTATION)["options"]
    constants.config.initialize_plugin_configuration_definitions("lookup", "sapflux.hosting.doppler", options)
    made = lookup.LookupModule()
    made._load_name = "sapflux.hosting.doppler"
    return made


def look(*terms: str, variables: dict[str, Any] | None = None, **options: Any) -> Any:
    """What the lookup answers."""
    given = {"base_url": BASE, "token": TOKEN, **options}
    return plugin().run(list(terms), variables or {}, **given)


def says(*terms: str, **options: Any) -> str:
    """How the lookup refuses; never with a value."""
    with pytest.raises(AnsibleError) as caught:
        look(*terms, **options)
    text = str(caught.value)
    assert [secret for secret in (TOKEN, PERSON, *VALUES.values()) if secret in text] == []
    return text


def test_a_config_is_downloaded_once(monkeypatch: pytest.MonkeyPatch, run_folder: pathlib.Path) -> None:
    script = play(monkeypatch, Call("GET", DOWNLOAD, ANSWER))
    assert look() == [VALUES]
    assert look("B", "A") == [VALUES["B"], VALUES["A"]]
    assert look("DOPPLER_CONFIG") == ["prd"]
    script.done()
    kept = [path for path in run_folder.iterdir() if path.suffix != ".lock"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in run_folder.iterdir()] == [0o600, 0o600]
    assert len(kept) == 1
    assert b"plain-marker" not in kept[0].read_bytes()
    assert TOKEN.rpartition(".")[2] not in kept[0].name


def test_other_tokens_configs_and_filters_are_other_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    script = play(
        monkeypatch,
        Call("GET", DOWNLOAD, ANSWER),
        Call("GET", f"{DOWNLOAD}&secrets=A%2CB", {"A": "1", "B": "2"}),
        Call("GET", DOWNLOAD.replace("?", "?project=app&config=prd&"), {**ANSWER, "A": "3"}),
    )
    for _each in range(2):
        assert look("A") == [VALUES["A"]]
        assert look(only=["B", "A"]) == [{"A": "1", "B": "2"}]
        assert look("A", token=PERSON, project="app", config="prd") == ["3"]
    script.done()


def test_fresh_asks_with_the_etag_and_takes_no_value_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    etag = {"If-None-Match": "e1"}
    script = play(
        monkeypatch,
        Call("GET", DOWNLOAD, ANSWER, headers={"ETag": "e1"}),
        Call("GET", DOWNLOAD, status=304, raw=b"", sent_headers=etag),
        Call("GET", DOWNLOAD, {**ANSWER, "A": "new"}, sent_headers=etag, headers={"ETag": "e2"}),
    )
    assert look("A", fresh=True) == look("A", fresh=True) == [VALUES["A"]]
    assert look("A", fresh=True) == look("A") == ["new"]
    script.done()


def test_a_refusal_is_never_answered_from_what_was_read_before(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = Call("GET", DOWNLOAD, {"messages": ["Invalid Service token"], "success": False}, status=401)
    script = play(monkeypatch, Call("GET", DOWNLOAD, ANSWER), refused, refused)
    look("A")
    assert "with 401: Invalid Service token; check that the token is whole" in says("A", fresh=True)
    assert "with 401" in says("A")
    script.done()


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, Call("GET", DOWNLOAD, ANSWER))
    assert says("X", "A", "Y", "X").endswith("the config prd of Doppler has no X, Y; set it there, or give a default")
    assert look("X", "A", default="info") == ["info", VALUES["A"]]
    assert look("X", required=False) == [None]
    assert look("X", required=False, default="d") == ["d"]


def test_missing_names_under_a_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, Call("GET", f"{DOWNLOAD}&secrets=A", {"A": "1"}))
    assert "the config of the token of Doppler has no B" in says("B", only=["A"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"token": None}, "there is no token of Doppler: give token, or set DOPPLER_TOKEN"),
        ({"token": "odd one"}, "token is no token of Doppler"),
        ({"token": PERSON}, "a personal token sees more than one config: give both project and config"),
        ({"token": PERSON, "project": "app"}, "give both project and config"),
        ({"oidc_identity": "i"}, "oidc_identity needs oidc_token"),
        ({"oidc_identity": "i", "oidc_token": "j.w.t", "config": "prd"}, "an identity sees more than one config"),
    ],
)
def test_what_is_refused_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], said: str
) -> None:
    play(monkeypatch)
    assert said in says("A", **options)


def test_options_come_from_the_environment_and_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    script = play(
        monkeypatch,
        Call("GET", DOWNLOAD, {"A": "env"}, sent_headers={"Authorization": f"Bearer {TOKEN}"}),
        Call("GET", DOWNLOAD.replace("?", "?project=app&config=dev&"), {"A": "vars"}),
    )
    monkeypatch.setenv("DOPPLER_TOKEN", TOKEN)
    monkeypatch.setenv("DOPPLER_API_HOST", BASE)
    assert plugin().run(["A"], {}) == ["env"]
    monkeypatch.setenv("DOPPLER_PROJECT", "app")
    variables = {"doppler_token": PERSON, "doppler_config": "dev"}
    assert plugin().run(["A"], variables) == ["vars"]
    script.done()


def test_an_identity_logs_in_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given = f"dp.said.{'C3' * 20}"
    script = play(
        monkeypatch,
        Call("POST", "/v3/auth/oidc", {"token": given}, body={"identity": "i", "token": "j.w.t"}),
        Call(
            "GET", DOWNLOAD.replace("?", "?project=app&config=prd&"), ANSWER,
            sent_headers={"Authorization": f"Bearer {given}"},
        ),
    )  # fmt: skip
    for _each in range(2):
        identity: dict[str, Any] = {"oidc_identity": "i", "oidc_token": "j.w.t", "token": None}
        assert look("A", project="app", config="prd", **identity) == [VALUES["A"]]
    script.done()


def test_a_file_that_another_token_wrote_or_that_is_broken_is_read_anew(run_folder: pathlib.Path) -> None:
    cache = Cache(str(run_folder), ("x",), "secret")
    assert cache.get(lambda _known: Download({"A": "1"}, "e")).values == {"A": "1"}
    path = next(path for path in run_folder.iterdir() if path.suffix != ".lock")
    path.write_bytes(b"broken")
    assert cache.get(lambda known: Download({"A": str(known)}, "e")).values == {"A": "None"}


def test_who_comes_while_one_asks_waits_for_its_answer(run_folder: pathlib.Path) -> None:
    asked: list[Download | None] = []
    answer = threading.Event()
    found: list[Download] = []

    def fetch(known: Download | None) -> Download:
        asked.append(known)
        answer.wait(30)
        return Download({"A": "1"}, "e")

    several = [
        threading.Thread(target=lambda: found.append(Cache(str(run_folder), ("x",), "s").get(fetch)))
        for _each in "1234"
    ]
    for thread in several:
        thread.start()
    answer.set()
    for thread in several:
        thread.join(30)
    assert (asked, len(found)) == ([None], 4)


def test_200_lookups_over_10_hosts_are_one_request(tmp_path: pathlib.Path) -> None:
    """In a real run with ten processes at once, all secrets hidden at the highest verbosity that prints arguments."""
    names = [f"SECRET_{number}" for number in range(20)]
    values = {name: f"{name.lower()}-{{{{ 7 * 7 }}}}-hidden-marker" for name in names}
    double = doppler()
    double.add_config("app", "prd", values)
    double.add_token(TOKEN, ["app/prd"])
    hosts = {"hosts": {f"h{number}": {"ansible_connection": "local"} for number in range(10)}}
    variables = {"doppler_project": "app", "doppler_config": "prd"}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {**hosts, "vars": variables}}))
    (tmp_path / "ansible.cfg").write_text("[defaults]\nforks = 10\n")
    tasks: list[dict[str, Any]] = [
        {
            "name": f"Half of them, part {part}",
            "ansible.builtin.assert": {
                "that": [
                    "lookup('sapflux.hosting.doppler', item) == wanted_start ~ '{' ~ '{ 7 * 7 }' ~ '}-hidden-marker'"
                ]
            },
            "vars": {"wanted_start": "{{ item | lower ~ '-' }}"},
            "loop": names[part * 10 : part * 10 + 10],
        }
        for part in (0, 1)
    ]
    missing = {"ansible.builtin.debug": {"msg": "{{ lookup('sapflux.hosting.doppler', 'NOT_THERE') }}"}}
    told = {"ansible.builtin.debug": {"msg": "told: {{ ansible_failed_result.msg }}"}}
    tasks.append({"block": [missing], "rescue": [told]})
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    home = tmp_path / "home"
    with double.running() as url:
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
            "ANSIBLE_HOME": str(home),
            "ANSIBLE_NOCOLOR": "1",
            "DOPPLER_TOKEN": TOKEN,
            "DOPPLER_API_HOST": url,
        }
        program = str(pathlib.Path(sys.executable).parent / "ansible-playbook")
        command = [program, "-vvv", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml")]
        done = subprocess.run(
            command, env=environment, capture_output=True, check=False, stdin=subprocess.DEVNULL, encoding="utf-8"
        )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert output.count('"All assertions passed"') >= 200
    assert "the config prd of Doppler has no NOT_THERE" in output
    print(f"{len(double.log)} request for 200 lookups over 10 hosts")
    assert [(seen.path, seen.status) for seen in double.log] == [("/v3/configs/config/secrets/download", 200)]
    # Neither a value nor the token is printed, and nothing of the run is left.
    assert [secret for secret in (TOKEN, *values.values()) if secret in output] == []
    assert (home / "tmp").is_dir()
    left = [path for path in home.rglob("*") if path.is_file() and "doppler" in path.name]
    assert left == []
    assert json.dumps(values["SECRET_0"]) not in output
