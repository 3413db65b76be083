"""The Docker engine's state: what is reloaded, what restarted, what put back; cut off at any step it is completed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _docker_daemon as dd
from ansible_collections.sapflux.hosting.plugins.modules import docker_daemon

CONFIG: dict[str, Any] = {"log-driver": "local", "live-restore": True, "debug": False, "bip": "172.31.0.1/24"}
KNOWN = {*CONFIG, "insecure-registries", "shutdown-timeout", "broken", "ignored"}


class Cut(BaseException):
    """The run was killed."""


class Machine:
    """systemd and dockerd: it reads daemon.json when it starts, and some keys on reload."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.active = True
        self.enabled = True
        self.installed = True
        self.version = "26.1.5+dfsg1"
        self.runs_with: dict[str, Any] = {}
        self.calls: list[str] = []
        self.alive = 0
        self.containers = True
        self.cut_after: str = ""

    def _file(self) -> dict[str, Any]:
        return dict(json.loads(self.path.read_text())) if self.path.exists() else {}

    def _start(self) -> bool:
        if not self.runs_with.get("live-restore"):
            self.containers = False
        config = self._file()
        self.active = "broken" not in config
        self.runs_with = {key: value for key, value in config.items() if key != "ignored"}
        return self.active

    def run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Do what the named program does."""
        done = subprocess.CompletedProcess(argv, 0, "", "")
        if argv[:2] == ["systemctl", "show"]:
            load = "loaded" if self.installed else "not-found"
            active = "active" if self.active else "inactive"
            enabled = "enabled" if self.enabled else "disabled"
            done.stdout = f"LoadState={load}\nActiveState={active}\nUnitFileState={enabled}\n"
        elif argv[0] == "dockerd":
            unknown = sorted(set(json.loads(Path(argv[-1]).read_text())) - KNOWN)
            if unknown:
                done.returncode = 1
                done.stderr = f"unable to configure with file {argv[-1]}: unknown directives: {', '.join(unknown)}\n"
        elif argv[0] == "systemctl":
            self.calls.append(argv[1])
            if argv[1] in ("start", "restart") and not self._start():
                done.returncode = 1
            elif argv[1] == "reload":
                self.runs_with.update({k: v for k, v in self._file().items() if k in dd.RELOADABLE})
            elif argv[1] == "disable":
                self.active = self.enabled = False
            if self.cut_after == argv[1]:
                raise Cut
        elif argv[0] == "journalctl":
            done.stdout = "failed to start daemon: boom\n"
        return done

    def get(self, _sock: str, _url: str) -> dict[str, Any] | None:
        """Answer GET /info."""
        if not self.active:
            return None
        return {
            "ServerVersion": self.version,
            "LoggingDriver": self.runs_with.get("log-driver", "json-file"),
            "LiveRestoreEnabled": self.runs_with.get("live-restore", False),
            "Debug": self.runs_with.get("debug", False),
            "Driver": "overlay2",
            "ContainersRunning": int(self.containers),
            "RegistryConfig": {
                "IndexConfigs": {name: {"Secure": False} for name in self.runs_with.get("insecure-registries", [])}
            },
        }


class Module:
    """The parts of AnsibleModule that the job uses."""

    def __init__(self, machine: Machine, check: bool, **params: Any) -> None:
        self.params = {"config": CONFIG, "members": None, "minimum_version": "26.0", **params}
        self.check_mode = check
        self._diff = True
        self._machine = machine

    def run_command(self, argv: list[str]) -> tuple[int, str, str]:
        """Run through the machine."""
        self._machine.enabled = self._machine.enabled or argv[1] == "enable"
        return 0, "", ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A host with a freshly installed engine that runs without a daemon.json."""
    return Machine(tmp_path / "etc" / "daemon.json")


def apply(machine: Machine, config: dict[str, Any] | None = None, check: bool = False, **params: Any) -> dict[str, Any]:
    """Run the module's job once."""
    module = Module(machine, check, config=CONFIG if config is None else config, **params)
    engine = dd.Engine(
        machine.path,
        machine.path.parents[1] / "lib" / "applied.json",
        1.0,
        run=machine.run,
        get=machine.get,
        sleep=lambda _seconds: None,
    )
    job = docker_daemon.Job(module, engine)
    job.absent() if params.get("state") == "absent" else job.present()
    return job.result


def test_a_fresh_engine_is_restarted_once_and_then_left_alone(machine: Machine) -> None:
    """First run: written, restarted. Second run: nothing."""
    first = apply(machine)
    assert (first["changed"], first["action"]) == (True, "restart")
    assert machine.runs_with == CONFIG
    machine.calls.clear()
    second = apply(machine)
    assert (second["changed"], second["action"], second["changed_keys"]) == (False, "none", [])
    assert machine.calls == []
    assert second["engine"] == {
        "version": "26.1.5+dfsg1",
        "storage_driver": "overlay2",
        "log_driver": "local",
        "live_restore": True,
        "running": 1,
    }


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({"debug": True}, "reload"),
        ({"shutdown-timeout": 20}, "reload"),
        ({"insecure-registries": ["10.0.0.1:5000"]}, "reload"),
        ({"bip": "172.31.1.1/24"}, "restart"),
        ({"debug": True, "bip": "172.31.1.1/24"}, "restart"),
        ({"log-driver": "journald"}, "restart"),
    ],
)
def test_only_keys_that_need_it_restart(machine: Machine, changes: dict[str, Any], action: str) -> None:
    """The changed keys decide between SIGHUP and a restart, and the engine ends with all of them."""
    apply(machine)
    machine.calls.clear()
    result = apply(machine, {**CONFIG, **changes})
    assert (result["changed"], result["action"], result["changed_keys"]) == (True, action, sorted(changes))
    assert [call for call in machine.calls if call in ("reload", "restart")] == [action]
    assert machine.runs_with == {**CONFIG, **changes}


def test_a_key_that_is_dropped_counts_as_changed(machine: Machine) -> None:
    """An option that is taken out of the document goes out of the file."""
    apply(machine)
    smaller = {key: value for key, value in CONFIG.items() if key != "bip"}
    assert apply(machine, smaller)["changed_keys"] == ["bip"]
    assert json.loads(machine.path.read_text()) == smaller


def test_containers_live_through_the_first_restart(machine: Machine) -> None:
    """live-restore is switched on by a reload before the engine restarts."""
    apply(machine)
    assert machine.calls[:3] == ["reload", "reset-failed", "restart"]
    assert machine.containers


def test_a_refused_configuration_changes_nothing(machine: Machine) -> None:
    """dockerd's own words, with the real path; file, record and engine untouched."""
    apply(machine)
    before = machine.path.read_bytes()
    machine.calls.clear()
    with pytest.raises(dd.DockerError) as caught:
        apply(machine, {**CONFIG, "log-drivr": "local"})
    assert "unknown directives: log-drivr" in str(caught.value)
    assert f"file {machine.path}" in str(caught.value)
    assert (machine.path.read_bytes(), machine.calls) == (before, [])
    assert apply(machine)["changed"] is False


def test_an_engine_that_does_not_come_up_gets_its_old_file_back(machine: Machine) -> None:
    """What dockerd --validate cannot see is healed by putting the old file back."""
    apply(machine)
    before = machine.path.read_bytes()
    with pytest.raises(dd.DockerError, match=r"boom.*put back"):
        apply(machine, {**CONFIG, "broken": True})
    assert machine.path.read_bytes() == before
    assert machine.runs_with == CONFIG
    assert apply(machine)["changed"] is False


def test_without_an_old_file_there_is_none_after_putting_back(machine: Machine) -> None:
    """A first run that fails leaves the host as it was."""
    with pytest.raises(dd.DockerError, match="put back"):
        apply(machine, {**CONFIG, "broken": True})
    assert not machine.path.exists()
    assert machine.active


def test_an_engine_that_ignores_a_key_is_an_error(machine: Machine) -> None:
    """A flag in the unit can overrule the file: then the wanted state is not reached, and it is said."""
    apply(machine)
    machine.get = lambda _sock, _url: {"ServerVersion": "26.1", "LoggingDriver": "json-file"}  # type: ignore[method-assign]
    with pytest.raises(dd.DockerError, match="did not take log-driver"):
        apply(machine, {**CONFIG, "bip": "172.31.9.1/24"})


def test_an_old_engine_is_refused(machine: Machine) -> None:
    """The minimum version is compared as numbers."""
    machine.version = "20.10.24"
    with pytest.raises(dd.DockerError, match=r"version 20\.10\.24, at least 26\.0"):
        apply(machine)


@pytest.mark.parametrize(
    ("verb", "first", "action"),
    [
        ("reset-failed", {}, "restart"),
        ("restart", {}, "restart"),
        # Cut between the reload that saves the containers and the restart.
        ("reload", {"live-restore": False}, "restart"),
    ],
)
def test_a_cut_run_is_completed_by_the_next(machine: Machine, verb: str, first: dict[str, Any], action: str) -> None:
    """Killed after the file was written, before the engine was known to have it: the next run restarts."""
    apply(machine, {**CONFIG, **first})
    machine.cut_after = verb
    wanted = {**CONFIG, "bip": "172.31.7.1/24"}
    with pytest.raises(Cut):
        apply(machine, wanted)
    assert json.loads(machine.path.read_text()) == wanted
    machine.cut_after = ""
    assert apply(machine, wanted, check=True)["changed"] is True
    result = apply(machine, wanted)
    assert (result["changed"], result["action"]) == (True, action)
    assert machine.runs_with == wanted
    assert apply(machine, wanted)["changed"] is False


def test_a_file_changed_by_hand_is_replaced_and_the_engine_restarted(machine: Machine) -> None:
    """Whoever changed the file may have restarted the engine with it."""
    apply(machine)
    machine.path.write_text('{"bip": "10.9.9.1/24"}')
    machine.run(["systemctl", "restart"])
    result = apply(machine)
    assert (result["changed"], result["action"]) == (True, "restart")
    assert machine.runs_with == CONFIG


def test_formatting_alone_is_no_change(machine: Machine) -> None:
    """The same content in another order of keys is left alone."""
    apply(machine)
    machine.path.write_text(json.dumps(dict(reversed(CONFIG.items()))))
    assert apply(machine)["changed"] is False


def test_a_stopped_engine_is_started_and_enabled(machine: Machine) -> None:
    """State is part of the wanted: running, and at boot."""
    apply(machine)
    machine.active = machine.enabled = False
    result = apply(machine)
    assert (result["changed"], result["action"]) == (True, "start")
    assert machine.active
    assert machine.enabled


def test_a_hanging_engine_is_restarted(machine: Machine) -> None:
    """Active for systemd, mute on its socket."""
    apply(machine)
    machine.calls.clear()
    real, answers = machine.get, iter([None])
    machine.get = lambda _sock, _url: next(answers, real("", ""))  # type: ignore[method-assign]
    assert apply(machine)["action"] == "restart"
    assert "restart" in machine.calls


def test_check_mode_writes_nothing(machine: Machine, tmp_path: Path) -> None:
    """Prediction equals the later run, and nothing is on the disk afterwards."""
    predicted = apply(machine, check=True)
    assert list(tmp_path.iterdir()) == []
    assert machine.calls == []
    real = apply(machine)
    for key in ("changed", "action", "changed_keys", "diff"):
        assert predicted[key] == real[key]


def test_check_mode_without_an_engine_predicts_and_a_real_run_says_what_to_do(machine: Machine) -> None:
    """Before the package is there, check mode predicts; a real run names the package."""
    machine.installed = machine.active = False
    assert apply(machine, check=True)["changed"] is True
    with pytest.raises(dd.DockerError, match=r"install Debian's package docker\.io"):
        apply(machine)


def test_absent_stops_and_removes_only_our_file(machine: Machine) -> None:
    """Ours goes; one that somebody has changed since stays."""
    apply(machine)
    assert apply(machine, state="absent", check=True)["changed"] is True
    assert machine.path.exists()
    assert apply(machine, state="absent")["changed"] is True
    assert not machine.path.exists()
    assert not machine.active
    assert apply(machine, state="absent")["changed"] is False
    machine.active = machine.enabled = True
    apply(machine)
    machine.path.write_text('{"debug": true}')
    apply(machine, state="absent")
    assert machine.path.read_text() == '{"debug": true}'


GROUPS = "root:x:0:\ndocker:x:998:ann,ops\nsudo:x:27:ops\n"


@pytest.mark.parametrize(
    ("text", "members"),
    [(GROUPS, ["ann", "ops"]), ("docker:x:998:\n", []), ("dockerx:x:1:ann\n", None), ("", None)],
)
def test_group_members(text: str, members: list[str] | None) -> None:
    """Membership is read from /etc/group by the whole name."""
    assert dd.group_members(text, "docker") == members


@pytest.mark.parametrize(
    ("wanted", "changed", "argument"),
    [([], True, ""), (["ops", "ann"], False, None), (["bob", "ann"], True, "ann,bob"), (None, False, None)],
)
def test_members_are_exactly_the_wanted(
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wanted: list[str] | None,
    changed: bool,
    argument: str | None,
) -> None:
    """Who is not listed is taken out, for membership is as good as root; left out, the group is not looked at."""
    apply(machine)
    groups = tmp_path / "group"
    groups.write_text(GROUPS)
    monkeypatch.setattr(docker_daemon, "GROUP_FILE", groups)
    seen: list[list[str]] = []

    def run_command(_self: Module, argv: list[str]) -> tuple[int, str, str]:
        seen.append(argv)
        return 0, "", ""

    monkeypatch.setattr(Module, "run_command", run_command)
    assert apply(machine, members=wanted)["changed"] is changed
    assert seen == ([["gpasswd", "--members", argument, "docker"]] if argument is not None else [])


def test_insecure_networks_are_not_mistaken_for_registries() -> None:
    """10.0.0.0/8 is reported in another place; a registry that is missing is seen."""
    info = {"RegistryConfig": {"IndexConfigs": {"docker.io": {"Secure": True}}}}
    assert dd.disagreements(info, {"insecure-registries": ["10.0.0.0/8"]}) == []
    assert dd.disagreements(info, {"insecure-registries": ["10.0.0.1:5000"]}) == ["insecure-registries"]
