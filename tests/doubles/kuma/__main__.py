"""Serve the double alone: ``python -m tests.doubles.kuma [--host H] [--port P]``. State is below ``DATA_DIR``."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path

from tests.doubles.kuma import Double, Kuma

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default=os.environ.get("UPTIME_KUMA_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("UPTIME_KUMA_PORT", "3001")))
    options = parser.parse_args()
    folder = os.environ.get("DATA_DIR")
    kuma = Kuma(Path(folder) / "kuma.db" if folder else None, os.environ.get("UPTIME_KUMA_DB_TYPE", ""))
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    with Double(kuma).running(options.host, options.port) as url:
        print(f"the double of Uptime Kuma answers on {url}", flush=True)
        done.wait()
