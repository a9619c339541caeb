"""A small stand-in for the Hugging Face hub: repositories, large files, commits, downloads.

It answers what huggingface_hub asks, by the hub's HTTP API. What does not arrive whole is not kept.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

TOKEN = "hf_secretOfTheTest"
LARGE = (".h5", ".tflite", ".png")  # kept as large files


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        hub, path = self.server, self.path.partition("?")[0]
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/[^/]+", path):
            files = hub.repositories[found[1]].items()
            self.send(
                [
                    {"type": "file", "path": name, "size": len(x), "oid": digest(x)[:40]}
                    for name, x in files
                ]
            )
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/\w+)?", path):
            known = found[1] in hub.repositories
            self.send({"id": found[1], "sha": hub.commit, "siblings": []}, 200 if known else 404)
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/\w+/(.+)", path):
            content = hub.repositories.get(found[1], {}).get(found[2])
            headers = {"X-Repo-Commit": hub.commit, "ETag": f'"{digest(content or b"")}"'}
            self.send(content, 404 if content is None else 200, headers)
        else:
            self.send({}, 404)

    do_HEAD = do_GET

    def do_POST(self):
        hub, path = self.server, self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if path != "/api/validate-yaml" and self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.send({"error": "Invalid username or password."}, 401)
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization', 'user')}/{asked['name']}"
            self.send({"url": f"{hub.address}/{name}"}, 409 if name in hub.repositories else 200)
            hub.repositories.setdefault(name, {})
            hub.private.setdefault(name, asked.get("visibility") == "private")
        elif path == "/api/validate-yaml":
            hub.heads.append(yaml.safe_load(json.loads(body)["content"].split("---\n")[1]))
            self.send({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            modes = [
                {"path": file["path"], "shouldIgnore": False}
                | {"uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular"}
                for file in json.loads(body)["files"]
            ]
            self.send({"files": modes})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self.send(
                {"transfer": "basic", "objects": [*map(self.place, json.loads(body)["objects"])]}
            )
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            self.commit(hub.repositories[found[1]], [*map(json.loads, body.splitlines())])
            url = f"{hub.address}/{found[1]}/commit/{hub.commit}"
            self.send({"commitUrl": url, "commitOid": hub.commit})
        else:
            self.send({}, 404)

    def place(self, of):
        """Where a large file goes; nowhere if it is there."""
        upload = {"upload": {"href": f"{self.server.address}/large/{of['oid']}"}}
        return of if of["oid"] in self.server.large else of | {"actions": upload}

    def do_PUT(self):
        hub, size = self.server, int(self.headers["Content-Length"])
        if hub.cuts:  # in the middle of the file
            hub.cuts -= 1
            self.rfile.read(size // 2)
            self.close_connection = True
            self.connection.close()
            return
        content = self.rfile.read(size)
        assert digest(content) == self.path.rpartition("/")[2]
        hub.large[digest(content)] = content
        hub.sent.append(digest(content))
        self.send({})

    def commit(self, files, lines):
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.server.commit = digest(repr(lines).encode())[:40]

    def send(self, content, code=200, headers=()):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def digest(content):
    return hashlib.sha256(content).hexdigest()


@contextmanager
def serving_hub():
    """A hub on this machine: `.address`, `.repositories` (name -> {file: bytes}), `.private`,
    `.heads` of the cards it was asked to check, `.sent`: digests of large files that arrived, and
    `.cuts`: how many of the next uploads it cuts off."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.repositories, server.private, server.large = {}, {}, {}
    server.heads, server.sent, server.cuts, server.commit = [], [], 0, "0" * 40
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
