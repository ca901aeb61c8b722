import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server:
    """A server of `body` on this machine; the first `cuts` answers end early, after 300,000 bytes."""

    def __init__(self):
        outer = self
        self.ranges, self.cuts, self.resumes, self.status, self.body, self.delay = [], 0, True, 200, b"", 0.0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.ranges.append(self.headers.get("Range"))
                if outer.status != 200:
                    self.send_error(outer.status)
                    return
                time.sleep(outer.delay)
                start = int(re.findall(r"\d+", self.headers.get("Range") or "0")[0]) if outer.resumes else 0
                rest = outer.body[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(rest)))
                self.end_headers()
                cut, outer.cuts = outer.cuts > 0, outer.cuts - 1
                self.wfile.write(rest[:300_000] if cut else rest)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/file"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()
