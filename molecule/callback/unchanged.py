"""Make `--check` on a converged host fail when it would change anything.

Molecule's `check` step only asks that `--check` does not crash; the contract of our roles is that it finds nothing
to do.
"""

from __future__ import annotations

import os
import sys

from ansible import context
from ansible.executor.stats import AggregateStats
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: unchanged
type: aggregate
short_description: fails a check run that would change something
description: Used by the Molecule scenarios of this collection.
requirements: [enabled in configuration]
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Counts what a check run would change and ends the run with 3 if that is not nothing."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "unchanged"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """Look at the recap. An exception here would only be a warning, so the process ends itself."""
        if not context.CLIARGS.get("check"):
            return
        changed = {host: count for host, count in stats.changed.items() if count}
        if changed:
            self._display.error(f"--check would change a converged host: {changed}")
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(3)
