"""Looking over a host: what is seen, and from when on it is a problem."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "roles" / "monitoring" / "files" / "host_check.py"
MEMINFO = "MemTotal: 2000 kB\nMemAvailable: 500 kB\nSwapTotal: 1000 kB\nSwapFree: 900 kB\nHugePages_Total: 0\n\n"


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("sapflux_host_check", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up.
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def limits(check: ModuleType, tmp_path: Path, **more: Any) -> Any:
    given = {
        "paths": [str(tmp_path), str(tmp_path), "/nowhere/at/all"],
        "disk_percent": 85,
        "memory_percent": 95,
        "swap_percent": 80,
        "reboot_days": 7,
        "certificate_days": 10,
        "certificates": [],
        "report": str(tmp_path / "host.json"),
    }
    return check.Limits(**{**given, **more})


def good() -> dict[str, Any]:
    return {
        "file_systems": {"/": {"percent": 84.9, "inodes_percent": 1.0, "free_bytes": 1}},
        "memory": {"percent": 75.0, "swap_percent": 10.0},
        "failed_units": [],
        "clock_is_kept": True,
        "reboot_due_days": 6.9,
        "certificates": {"/a.crt": {"days": 10.0, "lifetime": 90.0}, "/b.crt": {"days": 0.09, "lifetime": 0.5}},
    }


def test_memory_and_swap_in_percent(check: ModuleType) -> None:
    assert check.memory(MEMINFO) == {"percent": 75.0, "swap_percent": 10.0}
    assert check.memory("") == {"percent": 0.0, "swap_percent": 0.0}


def test_one_disk_counts_once_and_what_is_not_there_does_not(check: ModuleType, tmp_path: Path) -> None:
    found = check.file_systems([str(tmp_path), str(tmp_path.parent), "/nowhere/at/all"])
    assert list(found) == [str(tmp_path)]
    assert 0 <= found[str(tmp_path)]["percent"] <= 100


def test_a_good_host_has_no_problem(check: ModuleType, tmp_path: Path) -> None:
    assert check.judge(good(), limits(check, tmp_path)) == []


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        ({"file_systems": {"/": {"percent": 85.0, "inodes_percent": 1}}}, "/ is 85.0 % full (limit 85 %)"),
        ({"file_systems": {"/": {"percent": 1, "inodes_percent": 99.0}}}, "/ is 99.0 % out of inodes (limit 85 %)"),
        ({"memory": {"percent": 95.0, "swap_percent": 0}}, "95.0 % of the memory is in use (limit 95 %)"),
        ({"memory": {"percent": 1, "swap_percent": 80.0}}, "80.0 % of the swap is in use (limit 80 %)"),
        ({"failed_units": ["a.service"]}, "a.service failed: see journalctl -u a.service"),
        ({"clock_is_kept": False}, "the clock is not synchronised: see timedatectl"),
        ({"reboot_due_days": 7.0}, "a reboot has been due for 7.0 days"),
        ({"certificates": {"/a.crt": {"days": 9.9, "lifetime": 90.0}}}, "/a.crt ends in 9.9 days"),
        ({"certificates": {"/b.crt": {"days": 0.08, "lifetime": 0.5}}}, "/b.crt ends in 0.08 days"),
        ({"certificates": {"/c.crt": {"days": -1.0, "lifetime": 0.5}}}, "/c.crt ends in -1.0 days"),
    ],
)
def test_each_problem_alone(check: ModuleType, tmp_path: Path, seen: dict[str, Any], problem: str) -> None:
    assert check.judge({**good(), **seen}, limits(check, tmp_path)) == [problem]


def test_what_programs_say_is_read(check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begin, end = (time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(time.time() + days * 86400)) for days in (-85, 5))
    said = {
        "systemctl": "broken.service loaded failed failed X\nsapflux-ping@a.service loaded failed failed Y\n\n",
        "timedatectl": "NTP=yes\nNTPSynchronized=no\n",
        "openssl": f"notBefore={begin}\nnotAfter={end}\n",
        "systemd-detect-virt": "",
    }
    monkeypatch.setattr(
        check.subprocess, "run", lambda argv, **_more: subprocess.CompletedProcess(argv, 0, said[argv[0]], "")
    )
    (tmp_path / "a.crt").write_text("")
    seen = check.look(limits(check, tmp_path, certificates=[f"{tmp_path}/*.crt"]), MEMINFO)
    assert (seen["failed_units"], seen["clock_is_kept"]) == (["broken.service"], False)
    assert seen["certificates"] == {f"{tmp_path}/a.crt": pytest.approx({"days": 5.0, "lifetime": 90.0}, abs=0.1)}
    said["systemd-detect-virt"] = "docker\n"
    assert check.clock_is_kept()
    said["openssl"] = ""
    assert check.certificate("x") == {}


def test_a_program_that_is_not_there_or_fails_says_nothing(check: ModuleType) -> None:
    assert check.run("no-such-program-anywhere") == ""
    assert check.run("false") == ""


def test_a_reboot_that_is_due(check: ModuleType, tmp_path: Path) -> None:
    assert check.reboot_due(str(tmp_path)) == 0.0
    (tmp_path / "run").mkdir()
    (tmp_path / "run/reboot-required").write_text("")
    assert 0 <= check.reboot_due(str(tmp_path)) < 0.1


def test_the_report_is_left_and_the_exit_code_says_whether_all_is_well(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "limits.json"
    config.write_text(json.dumps(limits(check, tmp_path).__dict__))
    monkeypatch.setattr(check, "look", lambda _limits, _meminfo: good())
    assert check.main([str(config)]) == 0
    assert capsys.readouterr().out == "all well\n"
    monkeypatch.setattr(check, "look", lambda _limits, _meminfo: {**good(), "clock_is_kept": False})
    assert check.main([str(config)]) == 1
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    assert check.main([str(config)]) == 1
    assert capsys.readouterr().out.splitlines()[1].startswith("<4>the clock")
    report = json.loads((tmp_path / "host.json").read_text())
    assert report["problems"] == ["the clock is not synchronised: see timedatectl"]
    assert ((tmp_path / "host.json").stat().st_mode & 0o777, "at" in report) == (0o644, True)


def test_certificates_are_looked_for_where_the_roles_keep_them() -> None:
    def read(path: str) -> dict[str, Any]:
        return dict(yaml.safe_load((ROOT / "roles" / path).read_text()))

    caddy, postgres = read("monitoring/defaults/main.yml")["monitoring_certificates"]
    known = read("caddy/vars/main.yml")
    storage = known["__caddy_storage"].replace("{{ __caddy_data_dir }}", known["__caddy_data_dir"])
    assert caddy == f"{storage}/certificates/*/*/*.crt"
    home = re.search(r'^HOME = "(.+)"$', (ROOT / "roles/postgres/files/certificate.py").read_text(), re.MULTILINE)
    assert home
    assert postgres == f"{home[1]}/*.crt"


def test_a_real_certificate_is_read(check: ModuleType, tmp_path: Path) -> None:
    key, path = tmp_path / "a.key", tmp_path / "a.crt"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*request, "-subj", "/CN=a", "-days", "30", "-keyout", key, "-out", path], check=True)
    assert check.certificate(str(path)) == pytest.approx({"days": 30.0, "lifetime": 30.0}, abs=0.1)
    assert check.certificate(str(key)) == {}
