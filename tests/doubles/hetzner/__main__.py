"""Serve the double alone: ``python -m tests.doubles.hetzner [--host H] [--port P] [--real]``."""

from __future__ import annotations

import argparse
import threading

from tests.bed.cloud import BedMachines
from tests.doubles.hetzner import PREFIX, hetzner

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8789)
    parser.add_argument("--real", action="store_true", help="servers are hosts of the test bed")
    options = parser.parse_args()
    with hetzner(machines=BedMachines() if options.real else None).running(options.host, options.port) as url:
        print(f"Hetzner's double answers on {url}{PREFIX}", flush=True)
        threading.Event().wait()
