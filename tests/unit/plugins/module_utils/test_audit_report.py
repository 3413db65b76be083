"""The audit on a screen, as JSON, and in the documentation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.filter.audit import FilterModule
from ansible_collections.sapflux.hosting.plugins.module_utils._audit import audit
from ansible_collections.sapflux.hosting.plugins.module_utils._audit_checks import CHECKS
from ansible_collections.sapflux.hosting.plugins.module_utils._audit_report import failures, screen, table

from tests.audit_docs import PAGE, page

from .audit_host import host

FILTERS = FilterModule().filters()


def results() -> list[dict[str, str]]:
    """A host with one fault, one thing to note, and something that is not there."""
    facts = host(
        (("sshd", "root", "permitrootlogin"), ["yes"]),
        (("crontabs",), ["eve"]),
        (("lockdown",), None),
        (("failed_units",), [f"a-unit-with-quite-a-long-name-{number}.service" for number in range(9)]),
    )
    return audit(CHECKS, facts)


def test_every_check_is_a_line_that_fits() -> None:
    """Result, id, claim and what was found; under a failure what was wanted and the command."""
    lines = screen(results(), "web")
    assert lines[0] == "web"
    assert max(map(len, lines)) <= 120
    assert len(lines) == len(CHECKS) + 3 + 2
    at = next(index for index, line in enumerate(lines) if "ssh-root-login" in line)
    assert lines[at] == "  FAIL  ssh-root-login           root cannot log in over SSH: yes"
    assert lines[at + 1].strip() == "wanted: permitrootlogin no; see: sshd -T -C user=root"
    assert any(line.startswith("  note  file-crontabs") for line in lines)
    assert any(line.startswith("  n/a   lockdown-ssh") and "was never locked down" in line for line in lines)
    assert lines[-1] == f"  {len(CHECKS)} checks: {len(CHECKS) - 4} pass, 2 fail, 1 to note, 1 do not apply"


def test_the_short_form_has_only_what_failed() -> None:
    """Three of them, two lines each, between name and summary."""
    assert len(screen(results(), "web", everything=False)) == 2 + 3 * 2


def test_failures_are_sentences_and_notes_are_none() -> None:
    """They end the play."""
    found = failures(results())
    assert [line.split(":")[0] for line in found] == ["ssh-root-login", "unit-failed"]
    assert "found yes, wanted permitrootlogin no" in found[0]
    assert failures(audit(CHECKS, host())) == []


def test_the_document_holds_all_hosts_that_were_asked() -> None:
    """A host that could not be reached is not in it."""
    variables: list[dict[str, Any]] = [
        {"inventory_hostname": "web", "__audit": {"checks": results()}},
        {"inventory_hostname": "gone"},
        {"inventory_hostname": "down", "__audit": {"unreachable": True}},
    ]
    document = json.loads(FILTERS["audit_document"](variables))
    assert document["fail"] == 2
    assert [one["host"] for one in document["hosts"]] == ["web"]
    assert document["hosts"][0]["summary"]["checks"] == len(document["hosts"][0]["checks"]) == len(CHECKS)


def test_the_screen_filter_knows_three_forms() -> None:
    """And refuses others by name."""
    assert FILTERS["audit_screen"](results(), "web").splitlines()[0] == "web"
    assert json.loads(FILTERS["audit_screen"](results(), "web", "json"))["hosts"][0]["host"] == "web"
    assert len(FILTERS["audit_screen"](results(), "web", "short").splitlines()) == 8
    with pytest.raises(AnsibleFilterError, match="audit_format is 'xml'; write text, short"):
        FILTERS["audit_screen"](results(), "web", "xml")
    assert FILTERS["audit_failures"](results()) == failures(results())


def test_the_documentation_lists_every_check() -> None:
    """As the code has them; `python -m tests.audit_docs` writes the list anew."""
    assert PAGE.read_text(encoding="utf-8") == page()
    assert all(f"| `{check.id}` |" in table(CHECKS) for check in CHECKS)
