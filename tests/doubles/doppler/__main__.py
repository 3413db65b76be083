"""Serve the double alone: ``python -m tests.doubles.doppler [--host H] [--port P]``."""

from __future__ import annotations

import argparse
import threading

from tests.doubles.doppler import doppler

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8788)
    options = parser.parse_args()
    with doppler().running(options.host, options.port) as url:
        print(f"Doppler's double answers on {url}", flush=True)
        threading.Event().wait()
