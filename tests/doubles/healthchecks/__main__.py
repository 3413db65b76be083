"""Serve the double alone: ``python -m tests.doubles.healthchecks [--host H] [--port P]``."""

from __future__ import annotations

import argparse
import threading

from tests.doubles.healthchecks import healthchecks

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8789)
    options = parser.parse_args()
    with healthchecks().running(options.host, options.port) as url:
        print(f"the double of Healthchecks.io answers on {url}", flush=True)
        threading.Event().wait()
