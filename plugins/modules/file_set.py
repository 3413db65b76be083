#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: file_set
short_description: Install the files of one concern as one, and bring its units to life
version_added: 0.1.0
author: The sapflux.hosting authors (@sapflux)
description:
  - Renders and reads all files of one concern on the controller, sends them in one call, and installs them as one.
    Either the whole new set is in place or the whole old one, also after a power cut half-way.
  - The new set is laid out in a staging tree first, where the product's own checker looks at it. Nothing is
    installed when it says no.
  - When a check, a command, a unit or a probe fails after the install, the old set is put back and its units run again.
  - A run that was cut off is healed by the next one. When all files were in place but the units had not been told
    yet, the next run tells them, although no file differs.
  - When nothing differs, nothing is written and systemd is asked one question.
  - The last set that was replaced is kept in C(<state_dir>/<name>/previous) for people.
attributes:
  check_mode:
    description: Predicts without writing. Owners, units, validators and directories an earlier task would have made
      may be missing.
    support: full
  diff_mode:
    description: One diff for each changed file. Content of secret files is never shown.
    support: full
  idempotent:
    description: A second run with the same arguments changes nothing.
    support: full
options:
  name:
    description:
      - Name of the set, of V(a-z), V(0-9), V(_) and V(-). Its state is kept below O(state_dir) under this name.
    type: str
    required: true
  state:
    description:
      - V(present) installs the set.
      - V(absent) removes its files (those listed and those recorded by earlier runs), stops and disables its units,
        and removes the directories it made when they are empty. A unit with neither O(units[].enabled) nor
        O(units[].state) belongs to somebody else and is only told of the change (O(units[].on_change)). Nothing else
        is touched.
    type: str
    choices: [present, absent]
    default: present
  state_dir:
    description: Where the state of all sets is kept on the host.
    type: path
    default: /var/lib/sapflux/file_set
  exclusive:
    description: Whether files and empty directories that earlier runs made, and this one does not list, are removed.
    type: bool
    default: false
  directories:
    description: Directories made before the files. Missing directories above them are made too, as C(0755 root:root).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: str
        required: true
      owner:
        description: User name or number.
        type: str
        default: root
      group:
        description: Group name or number.
        type: str
        default: root
      mode:
        description: Permissions, a quoted octal string.
        type: str
        default: "0755"
      state:
        description: V(absent) removes the directory, but only when the set leaves it empty.
        type: str
        choices: [present, absent]
        default: present
  files:
    description:
      - The files. A present one takes exactly one of O(files[].template), O(files[].content) and O(files[].source).
      - The directory of a file must exist or be listed in O(directories).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path. A symlink found there is replaced by the file.
        type: str
        required: true
      template:
        description: Template on the controller, searched in C(templates/) and rendered as by
          M(ansible.builtin.template) with its defaults.
        type: str
      content:
        description: The content itself, a string.
        type: str
      source:
        description: File on the controller, searched in C(files/), taken byte for byte.
        type: str
      vars:
        description: More variables for this template.
        type: dict
        default: {}
      owner:
        description: User name or number.
        type: str
        default: root
      group:
        description: Group name or number.
        type: str
        default: root
      mode:
        description: Permissions, a quoted octal string.
        type: str
        default: "0644"
      secret:
        description: Never show the content, neither in diffs nor in messages.
        type: bool
        default: false
      state:
        description: V(absent) removes the file.
        type: str
        choices: [present, absent]
        default: present
  validate:
    description:
      - Argument lists run against the staged set before anything is installed, when a file differs. C({staged})
        stands for the staging tree and C({staged:/etc/x}) for a path in it. No shell is involved.
    type: list
    elements: list
    default: []
  validate_user:
    description: User the validators run as. It can read in the staging tree what it could read after the install.
    type: str
  check_installed:
    description: Argument lists run after the install and before any unit is told. A failure puts the old set back.
    type: list
    elements: list
    default: []
  check_user:
    description: User the checks run as.
    type: str
  commands:
    description: Argument lists run once after a change, before the units.
    type: list
    elements: list
    default: []
  units:
    description: The systemd units of the set, in the order they are handled.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Full name, like V(caddy.service).
        type: str
        required: true
      enabled:
        description: Whether it starts at boot. Left as it is when not given.
        type: bool
      state:
        description: Whether it runs. Left as it is when not given.
        type: str
        choices: [started, stopped]
      on_change:
        description:
          - What to do when a watched file changed. A unit that is started in the same run reads the new files anyway.
          - V(reload) passes over a unit that does not run; V(restart) and V(reload_or_restart) start it.
        type: str
        choices: [none, reload, restart, reload_or_restart]
        default: none
      watch:
        description: Paths (C(fnmatch) patterns) that count for O(units[].on_change). All files of the set when empty.
        type: list
        elements: str
        default: []
  probe:
    description: Argument lists that must succeed after units or commands were run, tried once a second.
    type: list
    elements: list
    default: []
  probe_timeout:
    description: Seconds until the probes must have succeeded.
    type: int
    default: 30
  report:
    description:
      - Argument lists run at the end of every run, in check mode and without a change too, which must only read. A role
        sees in RV(reports) what the running system has, and needs no task of its own for that.
      - One that fails fails nothing.
    type: list
    elements: list
    default: []
  payload:
    description: The packed contents. Filled in by the action; refused in a task.
    type: str
"""

EXAMPLES = r"""
- name: configure | Install Caddy's files
  sapflux.hosting.file_set:
    name: caddy
    directories:
      - {path: /etc/caddy, owner: root, group: caddy, mode: "0750"}
    files:
      - {path: /etc/caddy/Caddyfile, template: Caddyfile.j2, group: caddy, mode: "0640"}
      - {path: /etc/caddy/token.env, content: "TOKEN={{ caddy_token }}\n", mode: "0600", secret: true}
    validate:
      - [caddy, validate, --adapter, caddyfile, --config, "{staged}/etc/caddy/Caddyfile"]
    validate_user: caddy
    units:
      - {name: caddy.service, enabled: true, state: started, on_change: reload}
    probe:
      - [curl, -fsS, -o, /dev/null, "http://127.0.0.1:2019/config/"]

- name: configure | Set kernel parameters
  sapflux.hosting.file_set:
    name: sysctl
    files:
      - {path: /etc/sysctl.d/60-sapflux.conf, template: sysctl.conf.j2}
    commands:
      - [sysctl, --load=/etc/sysctl.d/60-sapflux.conf]

- name: remove | Take Caddy's files away
  sapflux.hosting.file_set:
    name: caddy
    state: absent
    files:
      - {path: /etc/caddy/Caddyfile}
      - {path: /etc/caddy/token.env}
    units:
      - {name: caddy.service, enabled: true, state: started}
"""

RETURN = r"""
files:
  description: Every file of the set.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: Its path.
      type: str
    changed:
      description: Whether it was (or in check mode would be) changed.
      type: bool
    reason:
      description: What differed, of V(created), V(content), V(mode), V(owner), V(group), V(type) and V(removed);
        V(unchanged) otherwise.
      type: str
  sample: [{path: /etc/caddy/Caddyfile, changed: true, reason: content}]
directories:
  description: Every directory of the set, with the parents that had to be made. Same shape as RV(files).
  returned: always
  type: list
  elements: dict
units:
  description: Every unit with the systemctl verbs that were run.
  returned: always
  type: list
  elements: dict
  sample: [{name: caddy.service, changed: true, actions: [reload]}]
activated:
  description: Whether commands or systemctl verbs were run.
  returned: always
  type: bool
recovered:
  description: Whether a run that had been cut off was undone first.
  returned: always
  type: bool
backup:
  description: Directory on the host with the files this run replaced; null when it replaced none.
  returned: always
  type: str
skipped_validation:
  description: Validators that could not run in check mode yet, as RV(ignore:command) and RV(ignore:reason).
  returned: always
  type: list
  elements: dict
reports:
  description: What each command of O(report) printed, in their order.
  returned: always
  type: list
  elements: dict
  contains:
    rc:
      description: Its exit code; 127 where the program does not exist.
      type: int
    stdout:
      description: Its output.
      type: str
    stderr:
      description: Its errors.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._file_set import FileSet
from ansible_collections.sapflux.hosting.plugins.module_utils._file_set_spec import (
    ARGUMENT_SPEC,
    FileSetError,
    parse,
    unpack,
)


def main() -> None:
    """Read the arguments, bring the set there, report."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        file_set = FileSet(parse(module.params, unpack(module.params["payload"])))
    except FileSetError as error:
        module.fail_json(msg=str(error))
    try:
        result = file_set.apply(check=module.check_mode, with_diff=module._diff)
    except FileSetError as error:
        # The message is whole; the causes would only say it again, and may quote what was masked in it.
        module.fail_json(msg=str(error), exception=None, **file_set.result)
    for warning in file_set.warnings:
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
