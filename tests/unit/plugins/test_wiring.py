"""The wiring as a whole: variables exist in their roles, roles get what they need, both inventories are good."""

from __future__ import annotations

import pathlib
import re
import time
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_validate as validation
from ansible_collections.sapflux.hosting.plugins.module_utils._site_schema import key_paths, load_schema

from tests.unit.fixtures import ROOT, SECRETS, document, put
from tests.unit.fixtures.playbook import Project, write

WIRING = ROOT / "playbooks" / "group_vars" / "all.yml"
ROLES = sorted(path.parent.parent.name for path in (ROOT / "roles").glob("[a-z]*/defaults/main.yml"))
BED = {
    "admin_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB bed",
    "caddy": {"path": "/opt/caddy", "sha256": "1" * 64, "version": "2.11.9"},
    "walg": {"path": "/opt/wal-g", "sha256": "2" * 64, "version": "3.0.9"},
    "images": {name: f"10.83.0.11:5000/sapflux/{name}@sha256:{'3' * 64}" for name in ("api", "web")},
    "objects_endpoint": "http://10.83.0.10:9000",
    "registry": "10.83.0.11:5000",
    "bucket": "sapflux-demo",
    "key_fingerprint": "2a8abfa8cb990629",
    "tailnet": {
        "login_server": "https://headscale.sapflux.test",
        "repository": "http://pkgs.sapflux.test/stable/debian",
        "key_sha256": "4" * 64,
        "version": "1.102.3",
    },
}


def load(path: pathlib.Path) -> Any:
    """The data of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def wired() -> dict[str, str]:
    """The variables of the wiring, unevaluated."""
    variables: dict[str, str] = load(WIRING)
    return variables


def options_of(role: str) -> dict[str, Any]:
    """The options of all entry points of a role."""
    entries = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"].values()
    return {name: option for entry in entries for name, option in entry["options"].items()}


def of_role(role: str) -> list[str]:
    """The variables of the wiring that belong to a role."""
    return [name for name in wired() if name.startswith(f"{role}_")]


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every variable of the wiring as a play on one host with all groups sees it."""
    folder = tmp_path_factory.mktemp("wiring")
    project = Project(folder, document(put("secrets.file", "{{ inventory_dir }}/secrets.yml")), SECRETS)
    # These say where a real host is.
    names = [name for name in wired() if name not in {"site_probe_address", "site_public_address"}]
    wanted = "{" + ", ".join(f"'{name}': {name}" for name in names) + "}"
    result = project.run([{"hosts": "edge:app:db", "gather_facts": False, "tasks": [write(folder, wanted)]}])
    assert result.code == 0, result.output
    return result.out


def test_there_are_roles_to_look_at() -> None:
    assert {"base", "firewall", "docker", "postgres", "walg", "caddy", "app"} <= set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_exists_in_its_role(role: str) -> None:
    known = options_of(role)
    assert [name for name in of_role(role) if name not in known] == []


def test_every_variable_belongs_to_a_role_or_to_the_playbooks() -> None:
    others = [name for name in wired() if not any(name in of_role(role) for role in ROLES)]
    assert [name for name in others if not name.startswith(("__site", "site_"))] == []


@pytest.mark.parametrize("role", ROLES)
def test_the_role_takes_what_the_wiring_gives(role: str, values: dict[str, Any]) -> None:
    options = options_of(role)
    given = {name: values[name] for name in of_role(role)}
    assert given, f"nothing in the document reaches the role {role}"
    result = ArgumentSpecValidator(options).validate(given, validate_role_argument_spec=True)
    assert result.error_messages == []


def test_every_line_is_a_key_or_one_filter() -> None:
    towers = [
        name
        for name, text in wired().items()
        if not re.fullmatch(
            r"[^{}]*|\{\{ [^{}|%]+?(?: \| (?:sapflux\.hosting\.\w+|default)(?:\([^()]*\))?)? \}\}", text
        )
    ]
    assert towers == []
    assert len(WIRING.read_text(encoding="utf-8").splitlines()) <= 180


def test_every_key_of_the_document_reaches_something() -> None:
    """A key that nothing reads is a promise nobody keeps."""
    sources = [WIRING, *(ROOT / "plugins" / "module_utils").glob("_site_*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    keys = {name for name, _path in key_paths(load_schema(), "site")}
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}\b", text)] == []


def test_secrets_arrive_in_clear_only_where_they_are_used(values: dict[str, Any]) -> None:
    assert values["walg_secret_access_key"] == SECRETS["BACKUP_SECRET_ACCESS_KEY"]
    assert values["postgres_users"][0]["password"] == SECRETS["APP_DB_PASSWORD"]
    holders = [name for name, value in values.items() if SECRETS["APP_DB_PASSWORD"] in str(value)]
    assert sorted(holders) == ["__site_secrets", "postgres_users"]
    assert "p%40ss%2Fword" in values["app_services"][0]["secrets"]["DATABASE_URL"]


def test_values_are_those_of_the_document(values: dict[str, Any]) -> None:
    assert values["base_admin_user"] == "ops"
    assert values["base_updates_reboot_time"] == "09:30"
    assert values["firewall_https_cidrs"] == ["192.0.2.0/24", "2001:db8::/32"]
    assert values["firewall_ssh_cidrs"] == ["0.0.0.0/0", "::/0", "203.0.113.0/24"]
    assert (values["firewall_lockdown_state"], values["firewall_tailnet_interface"]) == ("present", "tailscale0")
    assert values["firewall_lockdown_host"].endswith(".tail1234.example.org")
    assert values["tailscale_auth_key"] == ""
    assert values["docker_daemon_options"] == {"insecure-registries": ["10.83.0.11:5000"]}
    assert values["postgres_settings"]["random_page_cost"] == 1.1
    assert (values["walg_url"], values["walg_src"]) == ("https://example.org/wal-g", "")
    assert (values["caddy_url"], values["caddy_src"]) == ("", "/opt/programs/caddy")
    assert values["walg_prefix"] == "pg/sapflux/17/g1"
    assert values["app_project"] == "sapflux"
    assert values["site_status"]["project"] == "sapflux"


def evaluated(value: Any, variables: dict[str, Any]) -> Any:
    """A document with its simple templates, ``{{ a.b }}/c``, replaced."""
    if isinstance(value, dict):
        return {key: evaluated(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [evaluated(item, variables) for item in value]
    if not isinstance(value, str):
        return value

    def lookup(found: re.Match[str]) -> str:
        node: Any = variables
        for word in found[1].split("."):
            node = node[word]
        return str(node)

    return re.sub(r"\{\{ ([\w.]+) \}\}", lookup, value)


@pytest.mark.parametrize("name", ["local", "production"])
def test_the_inventories_are_good(name: str) -> None:
    folder = ROOT / "inventory" / name
    site = evaluated(load(folder / "group_vars" / "all" / "site.yml")["site"], {"bed": BED, "inventory_dir": "/inv"})
    assert [str(problem) for problem in validation.validate(site)] == []
    assert site["environment"] == name
    groups = load(folder / "hosts.yml")["all"]["children"]
    assert set(groups) == {"edge", "app", "db"}


def test_the_example_for_production_is_complete_and_holds_no_secret() -> None:
    text = (ROOT / "inventory" / "production" / "group_vars" / "all" / "site.yml").read_text(encoding="utf-8")
    keys = {name for name, path in key_paths(load_schema(), "site") if path != "site.artifacts.caddy.file"}
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}:", text)] == []
    secret_lines = [line for line in text.splitlines() if re.search(r"password:|_key:|KEY:", line)]
    assert len(secret_lines) >= 3
    assert [line for line in secret_lines if "${" not in line] == []


def test_completing_and_validating_is_quick() -> None:
    site = document()
    validation.validate(site)
    began = time.perf_counter()
    for _ in range(10):
        validation.validate(site)
    # Milliseconds in truth; the bound is for a busy machine and catches only what is wrong by orders of magnitude.
    assert (time.perf_counter() - began) / 10 < 1
