"""Serve the double alone: ``python -m tests.doubles.cloudflare [--host H] [--port P]``."""

from __future__ import annotations

import argparse
import threading

from tests.doubles.cloudflare import cloudflare

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8787)
    options = parser.parse_args()
    with cloudflare().running(options.host, options.port) as url:
        print(f"Cloudflare's double answers on {url}/client/v4", flush=True)
        threading.Event().wait()
