"""A small Hugging Face Hub on loopback, with the files of a folder."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

COMMIT = "1" * 40
REPO = "someone/model"


class Hub:
    """What it serves, how it misbehaves, and what it was asked for.

    Attributes:
        gated: answer every request for the repository as the Hub does for one whose terms were not accepted.
        cut: names of files whose next transfer breaks off in the middle.
        ranges: (name, where a transfer began) of all that did not begin at 0.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gated = False
        self.cut: set[str] = set()
        self.ranges: list[tuple[str, int]] = []
        self.url = ""

    def names(self) -> list[str]:
        return sorted(str(file.relative_to(self.folder)) for file in self.folder.rglob("*") if file.is_file())


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    hub = Hub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(self.path.partition("?")[0])
        if REPO not in path:
            self._send(404, b"{}", with_body, {"X-Error-Code": "RepoNotFound"})
        elif self.hub.gated:
            self._send(403, b"{}", with_body, {"X-Error-Code": "GatedRepo"})
        elif re.fullmatch(rf"/api/models/{REPO}(/revision/\w+)?", path):
            siblings = [{"rfilename": name} for name in self.hub.names()]
            self._json({"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings, "tags": []}, with_body)
        elif re.fullmatch(rf"/api/models/{REPO}/tree/\w+", path):
            sizes = {name: (self.hub.folder / name).stat().st_size for name in self.hub.names()}
            self._json([{"type": "file", "path": k, "size": v, "oid": "0" * 40} for k, v in sizes.items()], with_body)
        elif (found := re.fullmatch(rf"/{REPO}/resolve/\w+/(.+)", path)) and found[1] in self.hub.names():
            self._file(found[1], with_body)
        else:
            self._send(404, b"{}", with_body, {"X-Error-Code": "EntryNotFound"})

    def _file(self, name: str, with_body: bool) -> None:
        data = (self.hub.folder / name).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if start:
            self.hub.ranges.append((name, start))
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        if with_body and name in self.hub.cut:
            self.hub.cut.discard(name)
            self._send(200, body, True, headers, only=len(body) // 2)
            self.close_connection = True
        else:
            self._send(206 if start else 200, body, with_body, headers)

    def _json(self, content: Any, with_body: bool) -> None:
        self._send(200, json.dumps(content).encode(), with_body, {"Content-Type": "application/json"})

    def _send(
        self, status: int, body: bytes, with_body: bool, headers: dict[str, str], only: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body[:only])
