# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the way into a host, look at it once, and refuse one that cannot carry the stack."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.action import ActionBase, VariableLayer
from ansible_collections.sapflux.hosting.plugins.module_utils import _preflight as preflight

DEFAULT_DISTRIBUTIONS = {"Debian": ["13"]}
DEFAULT_MIN_FREE_MB = {"/": 2048, "/var/lib/postgresql": 1024, "/var/lib/docker": 1024, "/tmp": 32}  # noqa: S108

RETRIES = "reconnection_retries"
ARGUMENTS = "ssh_args"
# The first address gets this long where there is another one: a port that is closed does not answer at all.
SHORT = "-o ConnectTimeout=4"
# A shared connection whose path has gone would hold up every run that finds it, for as long as TCP hopes.
ALIVE = "-o ServerAliveInterval=5 -o ServerAliveCountMax=4"
# Seconds. sshd forgets failed logins within half a minute.
SHUT_OUT_PAUSES = (3.0, 7.0, 10.0, 15.0)
SPEC = {
    "admin_user": {"type": "str"},
    "tailnet_host": {"type": "str", "default": ""},
    "distributions": {"type": "dict", "default": DEFAULT_DISTRIBUTIONS},
    "min_free_mb": {"type": "dict", "default": DEFAULT_MIN_FREE_MB},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action plugin. One round trip where the first login works."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Answer the facts of the host, or fail with one line a problem."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, options = self.validate_argument_spec(argument_spec=SPEC)
        self.host = str(variables.get("inventory_hostname", "?"))
        self.paths = sorted(options["min_free_mb"])
        self.configured = self._option("host")
        try:
            user, answer, now = self._reach(
                self._places(variables, options["tailnet_host"]), self._logins(options["admin_user"])
            )
        except preflight.HostError as error:
            raise AnsibleActionFail(str(error)) from None
        limits = {path: int(limit) for path, limit in options["min_free_mb"].items()}
        problems = preflight.judge(self.host, answer, options["distributions"], limits, now)
        if problems:
            raise AnsibleActionFail("\n".join(problems))
        return self._good(user, answer, variables)

    def _good(self, user: str | None, answer: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """The result of a host that is fit, and the way in for the tasks that follow."""
        # Later tasks find the interpreter by this fact and spare a look of their own.
        facts = {**answer["facts"], "discovered_interpreter_python": answer["python"]}
        found: dict[str, Any] = {}
        if user is not None and user != variables.get("ansible_user"):
            found["ansible_user"] = user
        arguments = self._option(ARGUMENTS)
        if arguments is not None and ALIVE not in arguments:
            # The connection that later tasks share must notice a tailnet that dies, or they wait for ever.
            found["ansible_ssh_args"] = f"{ALIVE} {arguments}".rstrip()
        place = self._option("host")
        if place != self.configured:
            # Where the host is when it is not locked, for those who have to look at it from outside.
            found.update(ansible_host=place, sapflux_public_host=variables.get("sapflux_public_host", self.configured))
        if found:
            self.register_host_variables(facts, VariableLayer.CACHEABLE_FACT)
            self.register_host_variables(found, VariableLayer.EPHEMERAL_FACT)
        return {
            "changed": False,
            "user": user,
            "address": place,
            "ansible_facts": facts,
            "_ansible_verbose_override": True,
        }

    def _places(self, variables: dict[str, Any], otherwise: str) -> list[str | None]:
        """Addresses to try, in order; None is the connection's own."""
        if self._plain_transport() != "ssh":
            return [None]
        # Variables of hosts and groups arrive as they were written.
        tailnet = self._templar.template(variables.get("sapflux_tailnet_host")) or otherwise
        public = variables.get("sapflux_public_host") or self.configured
        state = variables.get("ansible_facts", {}).get("sapflux", {}).get("lockdown")
        return preflight.places(public, str(tailnet or ""), state)

    def _logins(self, admin_user: str | None) -> list[str | None]:
        """Logins to try, in order: the admin, the one of the inventory, root. None is the connection's own."""
        if self._plain_transport() != "ssh":
            return [None]
        configured = self._connection.get_option("remote_user")
        wanted = [admin_user, configured, "root"] if admin_user or configured else [None, "root"]
        return [user for user in dict.fromkeys(wanted) if user is not None or wanted[0] is None]

    def _plain_transport(self) -> str:
        return str(self._connection.transport).rpartition(".")[2]

    def _reach(self, places: list[str | None], logins: list[str | None]) -> tuple[str | None, dict[str, Any], float]:
        """(login, answer, controller's clock) of the first address that answers and the first login it lets in.

        Raises ``AnsibleConnectionFailure`` where the host does not answer or lets nobody in, ``HostError`` where it
        answers and cannot be used.
        """
        retries = int(self._option(RETRIES) or 0)
        arguments = self._option(ARGUMENTS)
        # A refused login is not tried again as it is: sshd counts failures and then shuts the address out for a while.
        self._set(RETRIES, 0)
        closed: list[str] = []
        try:
            for place in places:
                last = place == places[-1]
                self._set("host", place)
                self._set(ARGUMENTS, " ".join([*([] if last else [SHORT]), ALIVE, arguments or ""]).rstrip())
                try:
                    return self._enter(logins, retries if last else 0)
                except preflight.NoAnswerError as error:
                    closed.append(str(error))
        finally:
            self._set(RETRIES, retries)
            self._set(ARGUMENTS, arguments)
        raise AnsibleConnectionFailure(preflight.nowhere(closed))

    def _enter(self, logins: list[str | None], retries: int) -> tuple[str | None, dict[str, Any], float]:
        """What ``_reach`` answers, at the address the connection has now. Raises ``NoAnswerError`` too."""
        reason, waited = "", False
        for user in logins:
            self._set("remote_user", user)
            pauses = [2.0**attempt for attempt in range(retries)]
            while True:
                try:
                    return self._ask(user)
                except AnsibleConnectionFailure as error:
                    reason = to_text(error.message)
                    if preflight.denied(reason):
                        break
                    if preflight.shut_out(reason) and not waited:
                        waited, pauses = True, list(SHUT_OUT_PAUSES)
                    if not pauses:
                        message = preflight.unreachable(self.host, self._where(), reason, self._ssh(user))
                        raise preflight.NoAnswerError(message) from None
                    time.sleep(pauses.pop(0))
        tried = [user or "your login" for user in logins]
        message = preflight.refused(self.host, self._where(), tried, preflight.ssh_reason(reason))
        raise AnsibleConnectionFailure(message)

    def _ask(self, user: str | None) -> tuple[str | None, dict[str, Any], float]:
        """One round trip as ``user``. Raises ``AnsibleConnectionFailure`` or ``HostError``."""
        self._play_context.remote_user = user or self._play_context.remote_user
        began = time.time()
        try:
            result = self._low_level_execute_command(
                preflight.command(self.paths), in_data=preflight.SCRIPT.read_bytes(), sudoable=self._asks_password()
            )
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as error:  # what the connection says about sudo and its password
            raise preflight.HostError(f"host {self.host}: {user or 'the login'} cannot become root: {error}") from error
        now = (began + time.time()) / 2
        return user, preflight.parse(self.host, user or "the login", result["stdout"], result["stderr"]), now

    def _asks_password(self) -> bool:
        """Whether Ansible's own way to become root is needed: only where the user gave a password for it."""
        become = self._connection.become
        return bool(become and become.get_option("become_pass"))

    def _where(self) -> str:
        """``address:port`` as ssh was given them."""
        address = self._option("host") or self._play_context.remote_addr or self.host
        bracketed = f"[{address}]" if ":" in str(address) else address
        return f"{bracketed}:{self._option('port') or 22}"

    def _ssh(self, user: str | None) -> str:
        """The command a person types to see the same."""
        where, _colon, port = self._where().rpartition(":")
        address = where.strip("[]")
        return " ".join(
            word
            for word in ("ssh", "" if port == "22" else f"-p {port}", f"{user}@{address}" if user else address)
            if word
        )

    def _set(self, name: str, value: Any) -> None:
        """Set an option of connections that have it."""
        if value is not None and self._connection.has_option(name):
            self._connection.set_option(name, value)

    def _option(self, name: str) -> Any:
        return self._connection.get_option(name) if self._connection.has_option(name) else None
