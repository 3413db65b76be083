"""The lookups of the wiring, in a real run: secrets by name, and the document evaluated with its templates."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.sapflux.hosting.plugins.lookup import secret_store, site_document
from ansible_collections.sapflux.hosting.plugins.module_utils import _secrets
from ansible_collections.sapflux.hosting.plugins.module_utils._site_complete import complete

from tests.unit.fixtures import document, put
from tests.unit.fixtures.playbook import Project, write

# One value looks like a template and must not become one.
STORE = {"A": "plain-marker", "B": "{{ 7 * 7 }}", "C": "{% raw %}"}
LOOKUP = "lookup('sapflux.hosting.secret_store', file=inventory_dir ~ '/secrets.yml'"
FAILING = {
    "missing": "query('sapflux.hosting.secret_store', 'A', 'X', 'Y', file=inventory_dir ~ '/secrets.yml')",
    "no_file": "lookup('sapflux.hosting.secret_store', file='/nowhere/secrets.yml')",
    "provider": LOOKUP + ", provider='vault')",
    "no_path": "lookup('sapflux.hosting.secret_store')",
}


def attempt(name: str, expression: str) -> dict[str, Any]:
    """A block that notes the error of an expression in the variable `failed_<name>`."""
    return {
        "block": [{"ansible.builtin.set_fact": {"ignored": "{{ " + expression + " }}"}}],
        "rescue": [{"ansible.builtin.set_fact": {f"failed_{name}": "{{ ansible_failed_result.msg }}"}}],
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the lookups answered in one run."""
    folder = tmp_path_factory.mktemp("lookups")
    project = Project(folder, document(put("secrets.file", "{{ inventory_dir }}/secrets.yml")), STORE)
    variables = {
        "all_of_them": "{{ " + LOOKUP + ") }}",
        "two": "{{ query('sapflux.hosting.secret_store', 'B', 'A', file=inventory_dir ~ '/secrets.yml') }}",
        "password": "{{ '${B}' | sapflux.hosting.site_resolve(all_of_them) }}",
        "nested": "{{ {'inner': password} }}",
        "by_lookup": "{{ lookup('sapflux.hosting.site_document') }}",
        "by_filter": "{{ site | sapflux.hosting.site_document }}",
    }
    failures = ", ".join(f"'{name}': failed_{name}" for name in FAILING)
    wanted = "{" + ", ".join(f"'{name}': {name}" for name in variables) + ", " + failures + "}"
    tasks = [attempt(name, expression) for name, expression in FAILING.items()] + [write(folder, wanted)]
    result = project.run([{"hosts": "edge", "gather_facts": False, "vars": variables, "tasks": tasks}])
    assert result.code == 0, result.output
    return result.out | {"folder": str(folder)}


def test_without_terms_all_secrets_are_one_mapping(found: dict[str, Any]) -> None:
    assert found["all_of_them"] == STORE


def test_with_terms_values_are_answered_in_their_order(found: dict[str, Any]) -> None:
    assert found["two"] == [STORE["B"], STORE["A"]]


def test_a_secret_is_no_template_even_through_other_variables(found: dict[str, Any]) -> None:
    assert found["password"] == "{{ 7 * 7 }}"
    assert found["nested"] == {"inner": "{{ 7 * 7 }}"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing", "the secret store has no X, Y; add it to "),
        ("no_file", "there is no secrets file /nowhere/secrets.yml; make it with"),
        ("provider", "vault"),
        ("no_path", "file"),
    ],
)
def test_errors_name_the_thing_and_no_value(found: dict[str, Any], name: str, says: str) -> None:
    assert says in found[name]
    assert STORE["A"] not in found[name]


def test_the_document_is_complete_and_its_templates_are_evaluated(found: dict[str, Any]) -> None:
    expected = complete(document(put("secrets.file", f"{found['folder']}/secrets.yml")))
    assert found["by_lookup"] == expected
    assert found["by_filter"] == expected


def test_a_source_is_read_once_and_again_when_it_changed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    original = _secrets.load

    def load(provider: str, file: str) -> dict[str, str]:
        reads.append(file)
        return original(provider, file)

    monkeypatch.setattr(_secrets, "load", load)
    store = tmp_path / "secrets.yml"
    store.write_text("A: first\n", encoding="utf-8")
    store.chmod(0o600)
    assert secret_store.secrets_of("file", str(store)) == secret_store.secrets_of("file", str(store)) == {"A": "first"}
    assert len(reads) == 1
    store.write_text("A: other\n", encoding="utf-8")
    os.utime(store, ns=(1, 1))
    assert secret_store.secrets_of("file", str(store)) == {"A": "other"}
    store.chmod(0o644)
    with pytest.raises(_secrets.SecretError, match="chmod"):
        secret_store.secrets_of("file", str(store))


class Engine:
    """A templating engine that counts what it is asked for and changes nothing."""

    def __init__(self) -> None:
        self.asked = 0

    def template(self, value: Any) -> Any:
        """The value as it is."""
        self.asked += 1
        return value


def test_the_document_is_evaluated_once_for_the_same_variables() -> None:
    engine = Engine()

    def answer(variables: dict[str, Any]) -> Any:
        return site_document.LookupModule(loader=None, templar=engine).run([], variables)[0]

    variables = {"site": document()}
    assert answer(variables) == answer(variables) == complete(document())
    assert engine.asked == 1
    assert answer({"site": document(put("name", "other"))})["name"] == "other"
    assert engine.asked == 2
    variables["site"] = document(put("name", "third"))
    assert answer(variables)["name"] == "third"


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "there is no variable `site`; write the document into group_vars/all/site.yml"),
        ({"site": "x"}, "is not a mapping but 'x'; write it into group_vars"),
    ],
)
def test_no_document_is_refused_with_the_way_out(variables: dict[str, Any], says: str) -> None:
    with pytest.raises(AnsibleError, match=says):
        site_document.LookupModule(loader=None, templar=Engine()).run([], variables)
