"""Bring the scenario's host onto the bed's tailnet, as the role tailscale would, and give it its second SSH name."""

from __future__ import annotations

import sys

from tests.bed import tailnet

if __name__ == "__main__":
    tailnet.operator()
    tailnet.join(sys.argv[1])
    print(tailnet.alias(sys.argv[1]))
