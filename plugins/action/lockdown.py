# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lock a host's public SSH port, proving every step from here. Documented in plugins/modules/lockdown.py."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Optional

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.action import ActionBase, VariableLayer
from ansible_collections.sapflux.hosting.plugins.module_utils._lockdown import (
    AS_BEFORE,
    PUBLIC,
    TAILNET,
    LinkError,
    Lockdown,
    LockdownError,
    Plan,
    RefusedError,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._preflight import ssh_reason
from ansible_collections.sapflux.hosting.plugins.module_utils._ssh_probe import greets

SPEC = {
    "tailnet_host": {"type": "str", "default": ""},
    "open_rules": {"type": "str", "required": True},
    "locked_rules": {"type": "str", "required": True},
    "operator_cidrs": {"type": "list", "elements": "str", "required": True},
    "break_glass_cidrs": {"type": "list", "elements": "str", "default": []},
    "wan_addresses": {"type": "list", "elements": "str", "default": []},
    "seconds": {"type": "int", "default": 180},
    "program": {"type": "path", "default": "/usr/local/sbin/lockdown"},
}
#: First in ssh's arguments, where the first value counts: a connection of its own that gives up soon, at any time.
FRESH = "-o ControlMaster=no -o ControlPath=none -o ConnectTimeout=5 -o ServerAliveInterval=3 -o ServerAliveCountMax=3"


class _Link:
    """The host over Ansible's own connection, which is pointed at one address or the other."""

    def __init__(self, action: ActionModule, variables: dict[str, Any], options: dict[str, Any]) -> None:
        self._action = action
        self._variables = variables
        self._program: str = options["program"]
        self._connection = action._connection
        self._arguments = str(self._connection.get_option("ssh_args") or "")
        self.before = before = self._connection.get_option("host")
        tailnet = options["tailnet_host"]
        self.public = str(
            variables.get("sapflux_public_host")
            or (before if before != tailnet else "")
            or variables.get("inventory_hostname")
        )
        self._hosts = {AS_BEFORE: before, TAILNET: tailnet, PUBLIC: self.public}
        # What is tried again, and how often, is decided by the protocol.
        self._connection.set_option("reconnection_retries", 0)

    @contextmanager
    def _at(self, way: str) -> Iterator[None]:
        """Point the connection somewhere. Raises LinkError where the host does not answer there."""
        fresh = way != AS_BEFORE
        self._connection.set_option("host", self._hosts[way])
        self._connection.set_option("ssh_args", f"{FRESH} {self._arguments}" if fresh else self._arguments)
        try:
            yield
        except AnsibleConnectionFailure as error:
            reason = ssh_reason(to_text(error.message))
            raise LinkError(f"{self._hosts[way]} does not answer SSH ({reason})") from None
        except AnsibleError as error:
            # What the connection says about sudo, say: the protocol has to undo what it began.
            raise LinkError(f"{self._hosts[way]} cannot be used: {error}") from None

    def call(self, verb: str, way: str, token: str = "", request: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Run the host's program as root."""
        arguments = ["--token", token] if token else []
        if verb == "status":
            arguments = ["--json"]
        command = shlex.join([self._program, verb, *arguments])
        with self._at(way):
            # With something on standard input ssh makes no terminal, which would mix the two outputs.
            done = self._action._low_level_execute_command(command, in_data=json.dumps(request or {}).encode())
        answers = [line for line in str(done["stdout"]).splitlines() if line.startswith("{")]
        if done["rc"] == 0 and answers:
            answer: dict[str, Any] = json.loads(answers[-1])
            return answer
        lines = [line for line in str(done["stderr"] or done["stdout"]).splitlines() if line.strip()]
        raise RefusedError((lines or ["no reason given"])[-1].removeprefix("lockdown: "))

    def prove(self) -> dict[str, Any]:
        """A module as the admin, become included, and the host's status, over new connections to the tailnet."""
        with self._at(TAILNET):
            pong = self._action._execute_module(
                module_name="ansible.builtin.ping", module_args={}, task_vars=self._variables
            )
        if pong.get("ping") != "pong":
            raise LinkError(f"{self._hosts[TAILNET]} does not run a module: {pong.get('msg') or 'no answer'}")
        return self.call("status", TAILNET)

    def drop(self) -> None:
        """Close the shared connections; an established one would pass the locked rules."""
        for host in dict.fromkeys((self._hosts[AS_BEFORE], self.public, self._hosts[TAILNET])):
            self._connection.set_option("host", host)
            self._connection.set_option("ssh_args", self._arguments)
            self._connection.reset()
        self._hosts[AS_BEFORE] = self._hosts[TAILNET]

    def answering(self, addresses: Sequence[str], port: int) -> list[str]:
        """Ask all at once."""
        with ThreadPoolExecutor(max_workers=8) as pool:
            found = list(pool.map(lambda address: greets(address, port), addresses))
        return [address for address, answered in zip(addresses, found, strict=True) if answered]

    def clock(self) -> float:
        """This machine's monotonic clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action plugin. One round trip where the host is locked already."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Lock the host, and lead the tasks that follow over the tailnet."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, options = self.validate_argument_spec(argument_spec=SPEC)
        host = str(variables.get("inventory_hostname", "?"))
        if str(self._connection.transport).rpartition(".")[2] != "ssh":
            raise AnsibleActionFail(f"{host} is not reached over SSH, so there is nothing to lock.")
        plan = Plan(
            host,
            options["tailnet_host"],
            options["open_rules"],
            options["locked_rules"],
            options["seconds"],
            {"operator": options["operator_cidrs"], "break_glass": options["break_glass_cidrs"]},
            options["wan_addresses"],
        )
        link = _Link(self, variables, options)
        try:
            outcome = Lockdown(link, plan).run(check=bool(self._task.check_mode))
        except LockdownError as error:
            raise AnsibleActionFail(str(error)) from None
        return self._result(outcome, plan, link, variables)

    def _result(self, outcome: dict[str, Any], plan: Plan, link: _Link, variables: dict[str, Any]) -> dict[str, Any]:
        """The outcome, with the address and the facts for the tasks that follow."""
        known = dict(variables.get("ansible_facts", {}).get("sapflux", {}))
        facts = {"sapflux": {**known, "lockdown": outcome["state"]}}
        if outcome["state"].get("locked") and link.before != plan.tailnet_host:
            self.register_host_variables(facts, VariableLayer.CACHEABLE_FACT)
            self.register_host_variables(
                {"ansible_host": plan.tailnet_host, "sapflux_public_host": link.public}, VariableLayer.EPHEMERAL_FACT
            )
        result: dict[str, Any] = {"changed": outcome["changed"], "lockdown": outcome["state"], "ansible_facts": facts}
        if self._task.diff:
            before = "SSH is open for " + ", ".join(plan.state["operator"])
            after = "SSH is open on the tailnet only"
            result["diff"] = {"before": f"{before if outcome['changed'] else after}\n", "after": f"{after}\n"}
        return result
