#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module docker_daemon: the configuration and the state of the Docker engine in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_daemon
version_added: 0.1.0
author:
  - The sapflux.hosting authors (@sapflux)
short_description: Configure and run the Docker engine
description:
  - Writes C(/etc/docker/daemon.json), has C(dockerd --validate) judge it first, and makes the running engine take it.
  - Restarts the engine only when a changed key needs that; keys which the engine reads again on a signal are reloaded.
    When C(live-restore) is being switched on, it is switched on before the restart, so that containers keep running.
  - Waits until the engine answers. When it does not come up, the old file is put back and the engine started with it.
  - A run that was cut off between writing and restarting is completed by the next one.
  - Installs the packages of the engine first when told which (O(packages)). One engine is replaced by that of another
    repository only while no container runs.
  - C(userns-remap) is refused once the engine holds containers or images, which the change would hide.
attributes:
  check_mode:
    description: Predicts the changes and makes none.
    support: full
  diff_mode:
    description: Shows the difference of C(daemon.json).
    support: full
options:
  state:
    description: >-
      V(present) configures and runs the engine. V(absent) stops and disables it and removes C(daemon.json) if it is
      the one that this module wrote; packages, images, volumes and containers stay.
    type: str
    choices: [present, absent]
    default: present
  config:
    description: The whole content of C(daemon.json).
    type: dict
    default: {}
  packages:
    description:
      - The packages of the engine. Left out, they are not looked at.
      - A dict of C(names) (all of them), C(versioned) (those that C(version) is about), C(held) (those that change only
        when this says so), C(conflicts) (those that have to go), C(version) (a pattern such as V(26.1.*)), C(hold),
        C(upgrade) (to the newest of the source), C(url) and C(fingerprint) of a repository other than the system's own
        and of its key, which is fetched from C(<url>/gpg).
    type: dict
    suboptions:
      names: {description: Packages., type: list, elements: str, required: true}
      versioned: {description: Packages of the engine's version., type: list, elements: str, required: true}
      held: {description: Packages to hold., type: list, elements: str, required: true}
      conflicts: {description: Packages to remove., type: list, elements: str, default: []}
      version: {description: Version or pattern., type: str, default: ""}
      hold: {description: Whether to hold them., type: bool, default: true}
      upgrade: {description: Whether to bring them to the newest version., type: bool, default: false}
      url: {description: Repository., type: str, default: ""}
      fingerprint: {description: 40 hexadecimal digits., type: str, default: ""}
  members:
    description:
      - Exactly these users are members of the group C(docker). Membership is as good as being root.
      - Left out, the group is not looked at.
    type: list
    elements: str
  minimum_version:
    description: Refuse an engine that is older, for example V(26.1).
    type: str
    default: "26.0"
  timeout:
    description: Seconds to wait for the engine to answer after it was started.
    type: int
    default: 60
  path:
    description: The file that the engine reads.
    type: path
    default: /etc/docker/daemon.json
  state_dir:
    description: Directory of the record of what the running engine was last given.
    type: path
    default: /var/lib/sapflux/docker_daemon
"""

EXAMPLES = r"""
- name: Run the engine with rotated logs and containers that survive its restart
  sapflux.hosting.docker_daemon:
    config:
      log-driver: local
      log-opts: {max-size: 10m, max-file: "3"}
      live-restore: true
    members: []
"""

RETURN = r"""
action:
  description: What was done (or would be done, in check mode) to the engine.
  type: str
  returned: always
  sample: reload
changed_keys:
  description: Keys whose values the running engine did not have yet.
  type: list
  elements: str
  returned: always
members:
  description: Members of the group C(docker).
  type: list
  elements: str
  returned: always
packages:
  description: What was done to the packages, one thing an item.
  type: list
  elements: str
  returned: always
  sample: [install docker.io, hold docker.io]
engine:
  description: What the engine says about itself. Empty when it does not run.
  type: dict
  returned: always
  contains:
    version: {description: Version of the engine., type: str, sample: 26.1.5}
    storage_driver: {description: Storage driver., type: str, sample: overlay2}
    log_driver: {description: Log driver of new containers., type: str, sample: local}
    live_restore: {description: Whether containers survive a restart of the engine., type: bool}
    running: {description: Number of running containers., type: int}
"""

import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._docker_daemon import (
    DockerError,
    Engine,
    action_for,
    changed_keys,
    disagreements,
    group_members,
    parse,
    remap_refusal,
    render,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._docker_packages import Packages, Plan, Spec

PACKAGES = {
    "names": {"type": "list", "elements": "str", "required": True},
    "versioned": {"type": "list", "elements": "str", "required": True},
    "held": {"type": "list", "elements": "str", "required": True},
    "conflicts": {"type": "list", "elements": "str", "default": []},
    "version": {"type": "str", "default": ""},
    "hold": {"type": "bool", "default": True},
    "upgrade": {"type": "bool", "default": False},
    "url": {"type": "str", "default": ""},
    "fingerprint": {"type": "str", "default": ""},
}
GROUP = "docker"
GROUP_FILE = Path("/etc/group")


def _summary(info: Optional[Dict[str, Any]]) -> Dict[str, Any]:
    if info is None:
        return {}
    return {
        "version": info.get("ServerVersion"),
        "storage_driver": info.get("Driver"),
        "log_driver": info.get("LoggingDriver"),
        "live_restore": info.get("LiveRestoreEnabled"),
        "running": info.get("ContainersRunning"),
    }


def _numbers(version: str) -> List[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


class Job:
    """One run of the module: plan, then act."""

    def __init__(self, module: AnsibleModule, engine: Engine) -> None:
        self.module = module
        self.engine = engine
        self.check: bool = module.check_mode
        self.config: Dict[str, Any] = module.params["config"]
        self.result: Dict[str, Any] = {"changed": False, "action": "none", "changed_keys": [], "members": []}
        self.result.update(packages=[], engine={})

    def packages(self) -> None:
        """Bring the packages there; nothing is touched where containers would be stopped by it."""
        if self.module.params["packages"] is None:
            return
        packages = Packages(Spec.parse(self.module.params["packages"]))
        if packages.spec.upgrade and not self.check:
            packages.refresh()
        plan = packages.plan()
        self.result["packages"] = plan.lines()
        self.result["changed"] |= bool(plan)
        packages.refuse(plan, self.engine.running() if plan.remove else [])
        if plan and not self.check:
            self._carry_out(packages, plan)

    def _carry_out(self, packages: Packages, plan: Plan) -> None:
        packages.prepare(plan)
        # apt would start the engine again in the middle, with the file of the one that goes.
        stopped = bool(plan.remove) and self.engine.unit_state()[0]
        if stopped:
            self.engine.stop()
        try:
            packages.apply(plan)
        except DockerError:
            if stopped and self.engine.unit_state()[0]:
                self.engine.activate("start", self.config)
            raise

    def _diff(self, old: Optional[str], new: Optional[str]) -> None:
        if self.module._diff:
            header = str(self.engine.path)
            headers = {"before_header": header, "after_header": header}
            self.result["diff"] = {"before": old or "", "after": new or "", **headers}

    def members(self) -> None:
        """Make the members of the group `docker` exactly the given ones."""
        wanted = self.module.params["members"]
        found = group_members(GROUP_FILE.read_text(encoding="utf-8"), GROUP)
        self.result["members"] = found or []
        if wanted is None or found is None or found == sorted(set(wanted)):
            return
        self.result["changed"] = True
        self.result["members"] = sorted(set(wanted))
        if not self.check:
            rc, _out, err = self.module.run_command(["gpasswd", "--members", ",".join(sorted(set(wanted))), GROUP])
            if rc != 0:
                raise DockerError(f"the members of the group {GROUP} cannot be set: {err.strip()}")

    def present(self) -> None:
        """Bring packages, file and engine to the wanted state."""
        self.packages()
        installed, active, enabled = self.engine.unit_state()
        old, new = self.engine.text(), render(self.config)
        rewrite = old is None or parse(old) != self.config
        if not installed:
            if not self.check:
                raise DockerError("there is no docker.service on this host; install Debian's package docker.io first")
            self.result.update(changed=True, action="start", changed_keys=sorted(self.config))
            self._diff(old, new)
            return
        self.members()
        info = self.engine.info() if active else None
        keys, action = self._plan(old, active, info)
        refusal = remap_refusal(self.engine.applied(), self.config, info) if "userns-remap" in keys else None
        if refusal:
            raise DockerError(
                f"userns-remap can only be changed on an empty engine: {refusal}; take the key back, "
                "or set the host up anew"
            )
        self.result.update(changed_keys=keys, action=action)
        self.result["changed"] |= rewrite or action != "none" or not enabled
        self._diff(old, new if rewrite else old)
        if rewrite:
            self.engine.validate(new)
        if not self.check:
            info = self._apply(old, new if rewrite else None, action, keys, info)
            if not enabled and self.module.run_command(["systemctl", "enable", self.engine.unit])[0] != 0:
                raise DockerError("docker.service cannot be enabled; see `systemctl status docker.service`")
        self.result["engine"] = _summary(info)

    def _plan(self, old: Optional[str], active: bool, info: Optional[Dict[str, Any]]) -> Tuple[List[str], str]:
        """Return the keys that the running engine may lack and what it takes to give them."""
        applied = self.engine.applied()
        if not active:
            return changed_keys(applied or {}, self.config), "start"
        if applied is None or info is None:
            # Nothing is known about what this engine runs with (or it hangs), so it is started again once.
            return sorted(self.config), "restart"
        # Somebody may have changed the file and restarted the engine with it, so the file counts as much as the record.
        keys = set(changed_keys(applied, self.config)) | set(changed_keys(parse(old or "") or {}, self.config))
        keys.update(disagreements(info, self.config))
        return sorted(keys), action_for(sorted(keys), self.config)

    def _apply(
        self, old: Optional[str], new: Optional[str], action: str, keys: List[str], info: Optional[Dict[str, Any]]
    ) -> Dict[str, Any]:
        if new is not None:
            self.engine.install(new)
        if action == "none" and info is not None:
            return info
        try:
            early = bool(self.config.get("live-restore")) and "live-restore" in keys
            after = self.engine.activate(action, self.config, early_reload=early)
            self._judge(after)
        except DockerError as error:
            if new is None:
                raise
            self.engine.put_back(old)
            raise DockerError(f"{error}; put back: the engine runs with the old {self.engine.path}") from error
        self.engine.remember(self.config)
        return after

    def _judge(self, info: Dict[str, Any]) -> None:
        """Refuse an engine that is too old or did not take what it was given."""
        version, minimum = str(info.get("ServerVersion", "")), self.module.params["minimum_version"]
        if _numbers(version) < _numbers(minimum):
            raise DockerError(f"the engine is version {version}, at least {minimum} is needed; upgrade its package")
        keys = disagreements(info, self.config)
        if keys:
            raise DockerError(f"the engine did not take {', '.join(keys)}; look for another file or a flag of its unit")

    def absent(self) -> None:
        """Stop the engine and remove our daemon.json; one that somebody else has changed stays."""
        applied, old = self.engine.applied(), self.engine.text()
        ours = applied is not None and old is not None and parse(old) == applied
        installed, active, enabled = self.engine.unit_state()
        stop = installed and (active or enabled)
        self.result.update(changed=applied is not None or stop, action="stop" if stop else "none")
        self._diff(old, None if ours else old)
        if self.check:
            return
        if stop:
            self.engine.stop()
        if ours:
            self.engine.path.unlink()
        self.engine.forget()


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "config": {"type": "dict", "default": {}},
            "members": {"type": "list", "elements": "str"},
            "packages": {"type": "dict", "options": PACKAGES},
            "minimum_version": {"type": "str", "default": "26.0"},
            "timeout": {"type": "int", "default": 60},
            "path": {"type": "path", "default": "/etc/docker/daemon.json"},
            "state_dir": {"type": "path", "default": "/var/lib/sapflux/docker_daemon"},
        },
        supports_check_mode=True,
    )
    params = module.params
    engine = Engine(Path(params["path"]), Path(params["state_dir"]) / "applied.json", float(params["timeout"]))
    job = Job(module, engine)
    try:
        job.present() if params["state"] == "present" else job.absent()
    except DockerError as error:
        module.fail_json(msg=str(error), **{key: value for key, value in job.result.items() if key != "diff"})
    module.exit_json(**job.result)


if __name__ == "__main__":
    main()
