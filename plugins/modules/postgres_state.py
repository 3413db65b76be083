#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles, databases, extensions and grants of one PostgreSQL server in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_state
version_added: 0.1.0
short_description: Roles, databases, extensions and grants of a PostgreSQL server
description:
  - Looks at the whole wanted state in one call, compares, and runs only the statements that are missing.
  - Talks to the server over its local socket as its system account through C(psql); SQL goes through standard input.
  - Passwords reach the server as SCRAM-SHA-256 verifiers only, so that they are in no argument or log.
  - A user that is a member of the owner of its O(roles[].database) acts as that owner there
    (C(ALTER ROLE ... IN DATABASE ... SET role)), so that what its
    migrations create belongs to the owner and not to one login.
  - Databases are closed to C(PUBLIC). Nothing is ever dropped.
author:
  - The sapflux.hosting authors (@sapflux)
options:
  roles:
    description: Roles. Owners and groups that are only mentioned are made as roles that cannot log in.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the role.
        type: str
        required: true
      login:
        description: Whether it may log in.
        type: bool
        default: true
      password:
        description: Password in clear. Without one the password is left as it is.
        type: str
      connection_limit:
        description: Connections it may hold at once, V(-1) for any number.
        type: int
        default: -1
      memberof:
        description: All roles it is a member of; other memberships are revoked.
        type: list
        elements: str
        default: []
      database:
        description: The database it works in, one of O(databases).
        type: str
  databases:
    description: Databases.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the database.
        type: str
        required: true
      owner:
        description: Role that owns it.
        type: str
        required: true
      encoding:
        description: Encoding, chosen at creation.
        type: str
        default: UTF8
      extensions:
        description: Extensions it has; others are left alone.
        type: list
        elements: str
        default: []
  update_extensions:
    description: Whether extensions are brought to the version the host offers.
    type: bool
    default: false
  port:
    description: Port of the server (part of the socket's name).
    type: int
    default: 5432
  socket:
    description: Directory of the socket.
    type: path
    default: /run/postgresql
  system_user:
    description: System account of the superuser.
    type: str
    default: postgres
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
"""

EXAMPLES = r"""
- name: The application's database
  sapflux.hosting.postgres_state:
    databases:
      - {name: app, owner: app_owner, extensions: [postgis, btree_gist]}
    roles:
      - {name: app, database: app, memberof: [app_owner], connection_limit: 20, password: "{{ app_password }}"}
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, one sentence each, without secrets.
  type: list
  elements: str
  returned: always
  sample: [create database app owned by app_owner]
pending_restart:
  description: Settings that are written but wait for a restart.
  type: list
  elements: str
  returned: always
server_version:
  description: Version of the server, empty when it could not be asked in check mode.
  type: str
  returned: always
  sample: 17.11 (Debian 17.11-0+deb13u1)
server_version_num:
  description: The version as a number, V(0) when it could not be asked in check mode.
  type: int
  returned: always
  sample: 170011
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._postgres import PostgresError, Psql
from ansible_collections.sapflux.hosting.plugins.module_utils._postgres_plan import (
    DatabaseWish,
    PlanError,
    RoleWish,
    ServerState,
    make_plan,
    parse_wishes,
)

ARGUMENT_SPEC: dict[str, Any] = {
    "roles": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "login": {"type": "bool", "default": True},
            "password": {"type": "str", "no_log": True},
            "connection_limit": {"type": "int", "default": -1},
            "memberof": {"type": "list", "elements": "str", "default": []},
            "database": {"type": "str"},
        },
    },
    "databases": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "owner": {"type": "str", "required": True},
            "encoding": {"type": "str", "default": "UTF8"},
            "extensions": {"type": "list", "elements": "str", "default": []},
        },
    },
    "update_extensions": {"type": "bool", "default": False},
    "port": {"type": "int", "default": 5432},
    "socket": {"type": "path", "default": "/run/postgresql"},
    "system_user": {"type": "str", "default": "postgres"},
}


def picture(roles: list[RoleWish], databases: list[DatabaseWish], server: ServerState) -> str:
    """The part of the server's state that the wishes speak of, for the diff."""
    shown: dict[str, Any] = {"roles": {}, "databases": {}}
    for role in roles:
        have = server.roles.get(role.name)
        if have is not None:
            shown["roles"][role.name] = {
                "login": have.login,
                "connection_limit": have.connection_limit,
                "memberof": sorted(have.memberof),
                "powers": sorted(have.powers),
            }
    for database in databases:
        state = server.databases.get(database.name)
        if state is not None:
            shown["databases"][database.name] = {
                "owner": state.owner,
                "open to all": state.public,
                "extensions": dict(sorted(state.extensions.items())),
            }
    return json.dumps(shown, indent=2, sort_keys=True) + "\n"


class QuietModule(AnsibleModule):  # type: ignore[misc]
    """A module that does not write its arguments to the journal of the host.

    Ansible masks a password inside a list of roles by looking for its text in the printed list, and misses one that is
    printed otherwise: with a quote or a backslash in it.
    """

    def _log_invocation(self) -> None:
        """Say only that the module ran."""
        self.log("Invoked")


def main() -> None:
    module = QuietModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params

    def run(script: str) -> tuple[int, str, str]:
        runuser, psql = module.get_bin_path("runuser", required=True), module.get_bin_path("psql")
        if psql is None:
            return 2, "", "error: psql is not installed"
        argv = [runuser, "-u", params["system_user"], "--", psql, "-XAtq", "-d", "postgres"]
        argv += ["-h", params["socket"], "-p", str(params["port"])]
        # no locale of the caller may translate the messages that are read here
        environment = {"PGCONNECT_TIMEOUT": "10", "LC_ALL": "C.UTF-8", "PGOPTIONS": "-c lc_messages=C"}
        code, out, err = module.run_command(argv, data=script, cwd="/", environ_update=environment)
        return int(code), str(out), str(err)

    psql = Psql(run, f"{params['socket']} port {params['port']}")
    try:
        roles, databases = parse_wishes(params["roles"], params["databases"])
        try:
            reading = psql.read(database.name for database in databases)
        except PostgresError as error:
            if not module.check_mode:
                raise
            # a host that is still to be built: everything would be made
            module.warn(f"{error}; everything is reported as to be made")
            nothing: dict[str, Any] = {
                "actions": [],
                "pending_restart": [],
                "server_version": "",
                "server_version_num": 0,
            }
            module.exit_json(changed=bool(roles or databases), **nothing)
        declared = [item["name"] for item in params["roles"]]
        steps = make_plan(roles, databases, reading.server, declared=declared, update=params["update_extensions"])
        result: dict[str, Any] = {"changed": bool(steps), "actions": [step.summary for step in steps]}
        if steps and reading.in_recovery:
            module.fail_json(
                msg="PostgreSQL is in recovery and takes no changes: promote it, or run this on the primary"
            )
        before = picture(roles, databases, reading.server)
        after = before + "".join(f"+ {step.summary}\n" for step in steps)
        if steps and not module.check_mode:
            psql.apply(steps)
            reading = psql.read(database.name for database in databases)
            after = picture(roles, databases, reading.server)
        if steps and module._diff:
            result["diff"] = {"before": before, "after": after, "before_header": "server", "after_header": "server"}
    except (PlanError, PostgresError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        **result,
        pending_restart=reading.pending_restart,
        server_version=reading.version,
        server_version_num=reading.version_num,
    )


if __name__ == "__main__":
    main()
