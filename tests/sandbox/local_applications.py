"""Four application servers on a proxy's own loopback, for tests that are about HAProxy."""

from __future__ import annotations

from bluegreen.color import Color

REVISIONS = {Color.BLUE: "b" * 40, Color.GREEN: "c" * 40}
ADDRESSES = {Color.BLUE: ("127.0.0.11", "127.0.0.12"), Color.GREEN: ("127.0.0.13", "127.0.0.14")}

# The servers of a color for which /run/drips-COLOR is there answer requests through HAProxy byte by byte: the
# file names the part of the answer, "head" or "body".
APPLICATIONS = """
import http.server, os, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        drips = "/run/drips-" + self.server.color
        if os.path.exists(drips) and self.headers["X-Forwarded-For"]:
            self.close_connection = True
            head = "HTTP/1.1 200 OK\\r\\nX-Revision: %%s\\r\\n" %% self.server.revision
            if open(drips).read() == "body":
                self.wfile.write((head + "Content-Length: 1000000\\r\\n\\r\\n").encode())
                head = ""
            for byte in head.encode() + 10000 * b"x":
                self.wfile.write(bytes([byte]))
                time.sleep(1)
        sick = self.path == "/health" and os.path.exists("/run/sick-" + self.server.color)
        self.send_response(500 if sick else 200)
        self.send_header("X-Revision", self.server.revision)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *arguments):
        pass
for color, revision, addresses in %r:
    for address in addresses:
        server = http.server.ThreadingHTTPServer((address, 8080), Handler)
        server.color, server.revision = color, revision
        threading.Thread(target=server.serve_forever).start()
"""
