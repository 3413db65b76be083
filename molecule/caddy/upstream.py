#!/usr/bin/python3
"""A service that says what reached it: JSON with path, headers and size of the body, and a text worth compressing.

It claims a header of the role for itself, and sends a policy of its own where the path says own-policy.

`upstream [PORT]`; the port is 18080 by default, and part of the answer.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 18080
SEEN: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """Answers every request with 200; `GET /seen` lists the paths of all requests before it."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Read the body and reply."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        told = {"port": PORT, "path": self.path, "headers": dict(self.headers), "size": len(body), "text": "x" * 2000}
        if self.path == "/seen":
            told = {"seen": SEEN}
        else:
            SEEN.append(self.path)
        reply = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.send_header("X-Powered-By", "upstream")
        self.send_header("Set-Cookie", "session=marker-of-a-cookie")
        self.send_header("Strict-Transport-Security", "max-age=1")
        if "own-policy" in self.path:
            self.send_header("Content-Security-Policy", "default-src 'none'")
        self.end_headers()
        self.wfile.write(reply)

    def do_GET(self) -> None:
        """A GET."""
        self.answer()

    def do_POST(self) -> None:
        """A POST."""
        self.answer()


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
