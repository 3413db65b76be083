"""The Docker engine's state: what is reloaded, what restarted, what put back; cut off at any step it is completed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _docker_daemon as dd
from ansible_collections.sapflux.hosting.plugins.module_utils._docker_packages import Plan
from ansible_collections.sapflux.hosting.plugins.modules import docker_daemon

CONFIG: dict[str, Any] = {"log-driver": "local", "live-restore": True, "debug": False, "bip": "172.31.0.1/24"}
KNOWN = {*CONFIG, *dd.RELOADABLE, "log-opts", "userns-remap", "broken", "ignored"}


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
        self.slow = 0
        self.pending = False

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
            elif argv[1] == "reload" and self.slow:
                # systemctl has sent the signal and is back; the engine has not read its file yet.
                self.pending = True
            elif argv[1] == "reload":
                self._reload()
            elif argv[1] == "disable":
                self.active = self.enabled = False
            if self.cut_after == argv[1]:
                raise Cut
        elif argv[0] == "journalctl":
            done.stdout = "failed to start daemon: boom\n"
        return done

    def _reload(self) -> None:
        # What is not in the file any more is kept, except for a few keys.
        self.runs_with = {k: v for k, v in self.runs_with.items() if k not in dd.FORGOTTEN_ON_RELOAD}
        self.runs_with.update({k: v for k, v in self._file().items() if k in dd.RELOADABLE})

    def get(self, _sock: str, _url: str) -> dict[str, Any] | None:
        """Answer GET /info."""
        if not self.active:
            return None
        if self.pending:
            self.slow -= 1
            if self.slow == 0:
                self.pending = False
                self._reload()
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
        self.params = {"config": CONFIG, "members": None, "packages": None, "minimum_version": "26.0", **params}
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
        *[({key: "x"}, "reload") for key in sorted(dd.RELOADABLE - {"debug", "live-restore", "insecure-registries"})],
        ({"bip": "172.31.1.1/24"}, "restart"),
        ({"log-opts": {"max-size": "5m"}}, "restart"),
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


@pytest.mark.parametrize("key", sorted(dd.RELOADABLE - {"live-restore"}))
def test_a_dropped_key_leaves_the_running_engine_too(machine: Machine, key: str) -> None:
    """Most keys keep their value on SIGHUP when they are gone from the file, so that taking them out is a restart."""
    value: Any = {"debug": True, "insecure-registries": ["10.0.0.1:5000"]}.get(key, "x")
    base = {name: kept for name, kept in CONFIG.items() if name != key}
    apply(machine, {**base, key: value})
    machine.calls.clear()
    result = apply(machine, base)
    wanted = "reload" if key in dd.FORGOTTEN_ON_RELOAD else "restart"
    assert (result["changed_keys"], result["action"]) == ([key], wanted)
    assert machine.runs_with == base


@pytest.mark.parametrize(
    ("applied", "wanted", "info", "refusal"),
    [
        ({}, {"userns-remap": "default"}, {"Containers": 0, "Images": 0}, None),
        (None, {"userns-remap": "default"}, {"Containers": 0, "Images": 0, "SecurityOptions": None}, None),
        ({}, {"userns-remap": "default"}, {"Containers": 2, "Images": 5}, "2 containers and 5 images"),
        ({}, {"userns-remap": "default"}, {"Containers": 0, "Images": 1}, "holds 1 images"),
        ({"userns-remap": "default"}, {}, {"Images": 1, "SecurityOptions": ["name=userns"]}, "holds 1 images"),
        # The record may be lost; the engine knows.
        (None, {"userns-remap": "default"}, {"Images": 1, "SecurityOptions": ["name=userns"]}, None),
        ({"userns-remap": "ops"}, {"userns-remap": "ops"}, {"Images": 1, "SecurityOptions": ["name=userns"]}, None),
        ({"userns-remap": "a"}, {"userns-remap": "b"}, {"Images": 1, "SecurityOptions": ["name=userns"]}, "holds"),
        ({}, {"userns-remap": "default"}, None, None),
        ({"debug": True}, {"userns-remap": "default"}, None, "does not run"),
    ],
)
def test_user_namespaces_are_chosen_once(applied: Any, wanted: Any, info: Any, refusal: str | None) -> None:
    """Later, the change would hide what the engine holds."""
    said = dd.remap_refusal(applied, wanted, info)
    assert (refusal in said) if refusal and said else said is refusal


def test_a_refused_mapping_changes_nothing(machine: Machine) -> None:
    """One sentence with the way out; the old file, the same engine."""
    apply(machine)
    before, real = machine.path.read_bytes(), machine.get
    machine.get = lambda _sock, _url: {**(real("", "") or {}), "Images": 3}  # type: ignore[method-assign]
    machine.calls.clear()
    with pytest.raises(dd.DockerError, match="empty engine: the engine holds 3 images"):
        apply(machine, {**CONFIG, "userns-remap": "default"})
    assert (machine.path.read_bytes(), machine.calls) == (before, [])


def test_running_containers_are_found_without_an_engine(machine: Machine) -> None:
    """live-restore lets them run on; then their shims are asked."""
    shim = "17 /usr/bin/containerd-shim-runc-v2 -namespace moby -id 0123456789abcdef -address /run/x.sock\n"
    answers = {"docker": (0, "web\ndb\n"), "pgrep": (0, shim)}

    def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
        code, out = answers[argv[0]]
        return subprocess.CompletedProcess(argv, code, out, "")

    engine = dd.Engine(machine.path, machine.path, 1.0, run=run)
    assert engine.running() == ["web", "db"]
    answers["docker"] = (1, "")
    assert engine.running() == ["0123456789ab"]
    answers["pgrep"] = (1, "")
    assert engine.running() == []


def test_containers_live_through_the_first_restart(machine: Machine) -> None:
    """live-restore is switched on by a reload before the engine restarts."""
    apply(machine)
    assert machine.calls[:3] == ["reload", "reset-failed", "restart"]
    assert machine.containers


@pytest.mark.parametrize("changes", [{"debug": True}, {"insecure-registries": ["10.0.0.1:5000"]}])
def test_a_signal_that_is_taken_late_is_waited_for(machine: Machine, changes: dict[str, Any]) -> None:
    """`systemctl reload` is back before the engine has read its file."""
    apply(machine)
    # The first answer is to the question before the signal.
    machine.slow = 4
    assert apply(machine, {**CONFIG, **changes})["action"] == "reload"
    assert (machine.slow, machine.runs_with) == (0, {**CONFIG, **changes})


def test_a_restart_waits_until_the_containers_are_safe(machine: Machine) -> None:
    """live-restore is switched on by a signal; restarting before it is taken would stop every container."""
    machine.slow = 3
    apply(machine)
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


class Packages:
    """Packages that are to be replaced; notes what is asked of it, and whether the engine ran then."""

    machine: Machine
    seen: list[str]
    fail = ""

    def __init__(self, spec: Any) -> None:
        self.spec = spec

    def plan(self) -> Plan:
        """One engine for another."""
        return Plan(install=["docker-ce"], remove=["docker.io"])

    def refuse(self, _plan: Plan, running: list[str]) -> None:
        """Nothing runs."""
        assert running == []

    def _note(self, step: str) -> None:
        self.seen.append(f"{step} {'running' if self.machine.active else 'stopped'}")
        if self.fail == step:
            raise dd.DockerError(f"{step} failed")

    def prepare(self, _plan: Plan) -> None:
        """What can fail early."""
        self._note("prepare")

    def apply(self, _plan: Plan) -> None:
        """What cannot be taken back."""
        self._note("apply")


SPEC = {"names": [], "versioned": [], "held": [], "conflicts": [], "url": "", "fingerprint": "", "upgrade": False}


@pytest.fixture
def packages(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> type[Packages]:
    """The packages of the machine."""
    Packages.machine, Packages.seen, Packages.fail = machine, [], ""
    monkeypatch.setattr(docker_daemon, "Packages", Packages)
    monkeypatch.setattr(machine, "containers", False)
    apply(machine)
    return Packages


def test_the_engine_stops_only_when_the_new_packages_are_here(machine: Machine, packages: type[Packages]) -> None:
    """Fetched while it runs, replaced while it is stopped; check mode does neither."""
    predicted = apply(machine, packages=SPEC, check=True)
    assert (packages.seen, predicted["packages"]) == ([], ["install docker-ce", "remove docker.io"])
    result = apply(machine, packages=SPEC)
    assert packages.seen == ["prepare running", "apply stopped"]
    assert result["packages"] == predicted["packages"]
    assert machine.active
    assert machine.enabled


@pytest.mark.parametrize("step", ["prepare", "apply"])
def test_the_old_engine_runs_again_when_the_new_cannot_be_installed(
    machine: Machine, packages: type[Packages], step: str
) -> None:
    """And the run says why."""
    packages.fail = step
    with pytest.raises(dd.DockerError, match=f"{step} failed"):
        apply(machine, packages=SPEC)
    assert machine.active
