"""A server on this machine that speaks as much of the Hugging Face hub as reading and writing a model takes."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(http.server.ThreadingHTTPServer):
    """Repositories are folders ``root/owner/name``; every one has a single commit.

    Attributes:
        requests: Method and path of each request.
        token: The only one that may write.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.requests: list[str] = []
        self.token = "hf_writer"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._read()

    def do_GET(self) -> None:
        self._read()

    def _read(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append(f"{self.command} {path}")
        if match := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(/revision/(.+))?", path):
            folder = self.server.root / match[1]
            if not folder.is_dir() or match[3] == "nowhere":
                return self._missing("RevisionNotFound" if folder.is_dir() else "RepoNotFound")
            names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
            return self._json({"id": match[1], "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]})
        if match := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/tree/.+", path):
            folder = self.server.root / match[1]
            files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
            return self._json(
                [
                    {
                        "type": "file",
                        "path": str(file.relative_to(folder)),
                        "size": file.stat().st_size,
                        "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
                    }
                    for file in files
                ]
            )
        if match := re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/[^/]+/(.+)", path):
            file = self.server.root / match[1] / match[2]
            if not file.is_file():
                return self._missing("EntryNotFound" if file.parent.is_dir() else "RepoNotFound")
            content = file.read_bytes()
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            return self._answer(200, content, headers | {"Accept-Ranges": "bytes"})
        return self._missing("RepoNotFound")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(f"POST {self.path}")
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self._answer(401, b'{"error": "Invalid credentials"}', {})
        if self.path == "/api/repos/create":
            wanted = json.loads(body)
            folder = self.server.root / wanted["organization"] / wanted["name"]
            folder.mkdir(parents=True, exist_ok=True)
            return self._json({"url": f"{self.server.address}/{wanted['organization']}/{wanted['name']}"})
        if match := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/preupload/main", self.path):
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            return self._json({"files": [file | {"shouldIgnore": False} for file in files]})
        if match := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/commit/main", self.path):
            for line in body.splitlines():
                operation = json.loads(line)
                if operation["key"] == "file":
                    target = self.server.root / match[1] / operation["value"]["path"]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(base64.b64decode(operation["value"]["content"]))
            url = f"{self.server.address}/{match[1]}/commit/{COMMIT}"
            return self._json({"success": True, "commitOid": COMMIT, "commitUrl": url, "hookOutput": ""})
        if self.path.endswith("/validate-yaml") or self.path == "/api/validate-yaml":
            return self._json({"warnings": [], "errors": []})
        return self._missing("RepoNotFound")

    def _json(self, content: Any) -> None:
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _missing(self, code: str) -> None:
        self._answer(404, b'{"error": "not found"}', {"X-Error-Code": code, "X-Error-Message": code})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def serve(root: Path) -> Iterator[HubServer]:
    """A running server."""
    server = HubServer(root)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
