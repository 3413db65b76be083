"""Serve the double alone: ``python -m tests.doubles.clerk [--host H] [--port P]``."""

from __future__ import annotations

import argparse
import threading

from tests.doubles.clerk import Clerk

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8789)
    options = parser.parse_args()
    with Clerk().running(options.host, options.port) as url:
        print(f"Clerk's double answers on {url}", flush=True)
        threading.Event().wait()
