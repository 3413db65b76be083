"""Doppler's double on the host. At each start it holds what doppler.json says; the tests change that over HTTP."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from tests.doubles.doppler import doppler

if __name__ == "__main__":
    begin = json.loads(Path(__file__).with_name("doppler.json").read_text())
    double = doppler()
    double.limits = dict.fromkeys(double.limits, 10_000)
    double.add_config("shop", "prd", begin["values"])
    double.add_token(begin["token"], ["shop/prd"])
    with double.running("127.0.0.1", 8788):
        threading.Event().wait()
