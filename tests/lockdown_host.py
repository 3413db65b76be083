"""A host of the bed that is locked and unlocked, looked at from outside, from its tailnet, and past SSH.

Used by the scenario `lockdown` and by the soak tests.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from tests.bed import hosts
from tests.scenario import wait_until

RULES = "/etc/nftables.d/sapflux.nft"
KEPT = "/var/lib/sapflux/lockdown"
STATE = "/var/lib/sapflux/lockdown.json"
ROLLBACK = "sapflux-lockdown-rollback"
FINGERPRINT = r"sapflux [0-9a-f]\{16\}"

#: Conditions of the host, as shell: the dead-man timer runs; the kernel runs the locked rules.
ARMED = f"systemctl is-active --quiet {ROLLBACK}.timer"
LOADED = f'nft list table inet sapflux | grep -qF "$(grep -o "{FINGERPRINT}" {KEPT}/locked.nft | head -n 1)"'


@dataclass(frozen=True)
class LockdownHost:
    """The host named `name`; its other SSH name, by way of the operator, is `tailnet`."""

    name: str

    @property
    def tailnet(self) -> str:
        """The SSH name that leads over the tailnet."""
        return f"{self.name}-tailnet"

    def inside(self, script: str, stdin: str = "") -> str:
        """Run a script as root in the host, past SSH."""
        return hosts.execute(self.name, script, stdin=stdin.encode())

    def outside(self) -> bool:
        """Tell whether SSH answers at the public address, seen from the controller."""
        return hosts.greets(hosts.address(self.name))

    def tailnet_works(self) -> bool:
        """Tell whether one gets in over the tailnet, by a new connection."""
        options = ["-o", "ControlPath=none", "-o", "ConnectTimeout=5"]
        argv = ["ssh", "-F", str(hosts.ssh_config()), *options, self.tailnet, "true"]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0

    def status(self) -> dict[str, Any]:
        """What the host says about itself."""
        found: dict[str, Any] = json.loads(self.inside("lockdown status --json"))
        return found

    def is_locked(self) -> bool:
        """Tell whether the host is locked for good: kernel, file and state."""
        found = self.status()
        locked = self.inside(f"grep -o '{FINGERPRINT}' {KEPT}/locked.nft | head -n 1")
        return bool(found["state"].get("locked")) and found["loaded"] == found["file"] == locked

    def tailnet_is_back(self) -> None:
        """Wait until one gets in over the tailnet, and until the host trusts it."""
        wait_until(self.tailnet_works, "the way in over the tailnet", 120)
        # A look of now: what the last one remembers may be from before the tailnet went, or its way back still to come.
        self.inside("systemctl start sapflux-lockdown.service")
        wait_until(self._settled, "the end of the way back", 120)

    def _settled(self) -> bool:
        remembered = json.loads(self.inside("cat /run/sapflux-lockdown/watch.json"))
        return remembered["down_since"] is None and not self.status()["rescue_open"]

    def unlock(self) -> None:
        """Put the host back to where it was before the lockdown."""
        self.inside(
            f"rm -f {STATE}; install -m 0640 {KEPT}/open.nft {RULES}; nft --file {RULES}; "
            f"systemctl stop {ROLLBACK}.timer {ROLLBACK}.service 2>/dev/null || true; systemctl start tailscaled"
        )
        self.tailnet_is_back()
        assert self.outside()

    def arm(self, *, seconds: int = 600, flaw: str = "") -> str:
        """Arm by hand, with the rules of the last run; `flaw` is appended to the locked ones. What it answered."""
        request = {
            "open": self.inside(f"cat {KEPT}/open.nft") + "\n",
            "locked": self.inside(f"cat {KEPT}/locked.nft") + "\n" + flaw,
            "seconds": seconds,
            "state": {},
        }
        return self.inside("lockdown arm 2>&1 || true", json.dumps(request))

    def when(self, condition: str, action: str) -> None:
        """Let the host do something as soon as something is so; for faults in the middle of a run."""
        loop = f"for i in $(seq 1000); do if {condition}; then {action}; exit; fi; sleep 0.05; done"
        self.inside(f"systemd-run --quiet --collect sh -c '{loop}'")

    def reboot(self) -> None:
        """Restart the host and wait until it has booted."""
        subprocess.run(["docker", "restart", hosts.container(self.name)], check=True, capture_output=True)
        booted = {"running", "degraded"}
        wait_until(lambda: self.inside("systemctl is-system-running || true") in booted, "the boot", 120)
        # It may have another address now, and hosts.up() would wait for an answer there.
        hosts._write_ssh(self.name, admin=True)
