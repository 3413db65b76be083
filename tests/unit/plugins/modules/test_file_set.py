"""The module around the core: arguments in, result out, documentation in step with both."""

from __future__ import annotations

import grp
import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.module_utils._file_set_spec import ARGUMENT_SPEC, pack
from ansible_collections.sapflux.hosting.plugins.modules import file_set

ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name
MARKER = "s3cr3t-marker-value"


def run_module(capsys: pytest.CaptureFixture[str], args: dict[str, Any]) -> dict[str, Any]:
    """Run main() with these arguments and return what it prints."""
    with patch_module_args(args), pytest.raises(SystemExit) as ended:
        file_set.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert bool(ended.value.code) is result.get("failed", False)
    return result


def arguments(base: Path, contents: dict[str, bytes], **more: Any) -> dict[str, Any]:
    """Return module arguments for files below C(base)."""
    files = [{"path": str(base / name), "owner": ME, "group": MY_GROUP, "secret": True} for name in contents]
    payload = pack({str(base / name): data for name, data in contents.items()})
    return {"name": "demo", "state_dir": str(base / "state"), "files": files, "payload": payload, **more}


def test_installs_reports_and_repeats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = arguments(tmp_path, {"a": MARKER.encode()})
    predicted = run_module(capsys, {**args, "_ansible_check_mode": True, "_ansible_diff": True})
    assert predicted["changed"]
    assert list(tmp_path.iterdir()) == []
    first = run_module(capsys, {**args, "_ansible_diff": True})
    assert first["diff"] == predicted["diff"]
    assert (tmp_path / "a").read_text() == MARKER
    second = run_module(capsys, args)
    assert not second["changed"]
    keys = {
        "changed",
        "files",
        "directories",
        "units",
        "activated",
        "recovered",
        "backup",
        "skipped_validation",
        "reports",
    }
    assert second.keys() - {"invocation"} == keys
    assert MARKER not in json.dumps([predicted, first, second])
    assert args["payload"] not in json.dumps([predicted, first, second])


def test_a_refusal_has_the_same_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validate = [["sh", "-c", f"echo found {MARKER}; exit 4"]]
    result = run_module(capsys, arguments(tmp_path, {"a": f"key={MARKER}\n".encode()}, validate=validate))
    assert result["failed"]
    assert not result["changed"]
    assert result["files"][0]["path"] == str(tmp_path / "a")
    assert "exit 4" in result["msg"]
    assert MARKER not in result["msg"]
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"payload": None}, "came without content: use the action"),
        ({"payload": "garbage"}, "payload of file_set is damaged"),
        ({"name": "No!"}, "may hold only"),
    ],
)
def test_refuses_bad_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: dict[str, Any], message: str
) -> None:
    result = run_module(capsys, {**arguments(tmp_path, {"a": b"x"}), **spoil})
    assert result["failed"]
    assert message in result["msg"]


def documented(options: dict[str, Any]) -> dict[str, Any]:
    """Return what the documentation says of options, in the words of an argument spec."""
    kept = ("type", "elements", "default", "required", "choices")
    return {
        name: {key: value for key, value in option.items() if key in kept}
        | ({"options": documented(option["suboptions"])} if "suboptions" in option else {})
        for name, option in options.items()
    }


def specified(spec: dict[str, Any]) -> dict[str, Any]:
    """Return an argument spec without what documentation does not hold."""
    return {
        name: {key: value for key, value in option.items() if key not in ("no_log", "options")}
        | ({"options": specified(option["options"])} if "options" in option else {})
        for name, option in spec.items()
    }


def test_the_documentation_and_the_argument_spec_say_the_same() -> None:
    documentation = yaml.safe_load(file_set.DOCUMENTATION)
    assert documented(documentation["options"]) == specified(ARGUMENT_SPEC)


def test_the_examples_use_only_options_that_exist() -> None:
    for task in yaml.safe_load(file_set.EXAMPLES):
        asked = task["sapflux.hosting.file_set"]
        assert asked.keys() <= ARGUMENT_SPEC.keys()
        for key in ("files", "units", "directories"):
            for entry in asked.get(key, []):
                assert entry.keys() <= ARGUMENT_SPEC[key]["options"].keys()


def test_the_return_value_is_documented() -> None:
    returned = yaml.safe_load(file_set.RETURN)
    assert returned.keys() == {
        "files", "directories", "units", "activated", "recovered", "backup", "skipped_validation", "reports"
    }  # fmt: skip
