"""A real server of S3 on this machine: SeaweedFS, which checks signatures and speaks multipart."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from obstore.store import S3Store

__all__ = ["ACCESS_KEY", "SECRET_KEY", "Seaweed", "pointed_at", "seaweed_server"]

HOST: Final = "127.0.0.1"
ACCESS_KEY: Final = "key-of-the-farm"
SECRET_KEY: Final = "secret-of-the-farm-7c1f"
START_S: Final = 60
_PROGRAM: Final = Path(sys.executable).with_name("weed")
_ROLES: Final = ("master", "volume", "filer", "s3")
_names: Final = count(1)


@dataclass
class Seaweed:
    """One server. It is ended by its id, and keeps its objects when it is started again."""

    folder: Path
    ports: list[int]
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ports[-2]}"

    def bucket(self) -> str:
        """Make a bucket that nobody has used; gives its name."""
        name = f"films-{os.getpid()}-{next(_names)}"
        store = S3Store(
            name,
            endpoint=self.url,
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            client_options={"allow_http": True},
        )
        store.put("first", b"")  # makes the bucket
        store.delete("first")
        return name

    def environment(self, **others: str) -> dict[str, str]:
        """Return the variables by which a client finds this server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            **others,
        }

    def start(self) -> None:
        """Start it, and wait until it answers."""
        ports = [
            option
            for role, (port, grpc) in zip(
                _ROLES, zip(self.ports[::2], self.ports[1::2], strict=True), strict=True
            )
            for option in (f"-{role}.port={port}", f"-{role}.port.grpc={grpc}")
        ]
        settings = (
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"),
            *("-master.volumeSizeLimitMB=64", "-master.electionTimeout=1s", "-volume.max=1000"),
            *("-volume.preStopSeconds=0", f"-s3.config={self.folder / 's3.json'}"),
            *(f"-{role}.localSocket={self.folder / role}.sock" for role in ("s3", "filer")),
        )
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(_PROGRAM, "server", "-filer", "-s3", f"-dir={self.folder / 'data'}"),
                    *(f"-ip={HOST}", f"-ip.bind={HOST}", *ports, *settings),
                ],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                text = (self.folder / "log").read_text(errors="replace")
                raise AssertionError(f"SeaweedFS does not start: {text[-1_000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        """Whether S3 answers and objects can be written, which needs all of its parts."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2):
                pass
            assign = f"http://{HOST}:{self.ports[0]}/dir/assign"
            with urllib.request.urlopen(assign, timeout=5) as told:
                return "fid" in json.load(told)
        except (OSError, urllib.error.URLError, ValueError):
            return False


@contextmanager
def seaweed_server(folder: Path) -> Iterator[Seaweed]:
    """Start a server with its objects in a folder. When the block ends it is gone."""
    held = [socket.create_server((HOST, 0)) for _ in range(2 * len(_ROLES))]
    ports = [it.getsockname()[1] for it in held]
    for one in held:
        one.close()
    (folder / "data").mkdir()
    keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    farm = {"name": "farm", "credentials": keys, "actions": ["Admin", "Read", "Write", "List"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [farm]}))
    server = Seaweed(folder, ports)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder / "data")


def pointed_at(server: Seaweed, monkeypatch: pytest.MonkeyPatch, **others: str) -> None:
    """Have this process, and those that it starts, find a server by their environment."""
    for name, value in server.environment(**others).items():
        monkeypatch.setenv(name, value)
