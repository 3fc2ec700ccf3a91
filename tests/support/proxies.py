"""nginx and Caddy with the configurations of docs/proxies.md, before a dispatcher of a test."""

import asyncio
import os
import re
import shutil
import socket
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.support.engines import eventually

__all__ = ["CADDY", "NGINX", "behind_caddy", "behind_nginx"]

_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin"
NGINX: Final = shutil.which("nginx", path=_PATH)
CADDY: Final = shutil.which("caddy", path=_PATH)
_PAGE: Final = Path(__file__).parents[2] / "docs" / "proxies.md"

_AROUND_NGINX: Final = """\
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""


@asynccontextmanager
async def behind_nginx(port: int, certificate: Path, folder: Path) -> AsyncIterator[str]:
    """Run nginx before the dispatcher on this port until the block ends; gives its URL."""
    assert NGINX is not None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = listener.getsockname()[1]
        site = _changed(
            _block("nginx"),
            {
                "127.0.0.1:8080": f"127.0.0.1:{port}",
                "listen 443 ": f"listen 127.0.0.1:{here} ",
                "dispatcher.example.com": "localhost",
                "/etc/dispatcher/cert.pem": str(certificate),
                "/etc/dispatcher/key.pem": str(certificate),
            },
        )
        user = "user root;" if os.geteuid() == 0 else ""
        config = folder / "nginx.conf"
        config.write_text(_AROUND_NGINX.format(folder=folder, site=site, user=user))
        # It takes over the listener, so that nobody else can have the port in between.
        inherited = {"NGINX": f"{listener.fileno()};"}
        command = (NGINX, "-e", "stderr", "-p", str(folder), "-c", str(config))
        async with _proxy(command, here, folder, inherited, [listener.fileno()]) as url:
            yield url


@asynccontextmanager
async def behind_caddy(port: int, certificate: Path, folder: Path) -> AsyncIterator[str]:
    """Run Caddy before the dispatcher on this port until the block ends; gives its URL."""
    assert CADDY is not None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = listener.getsockname()[1]
    site = _changed(
        _block("caddy"),
        {
            "127.0.0.1:8080": f"127.0.0.1:{port}",
            "dispatcher.example.com {": f"https://localhost:{here} {{\n"
            f"    bind 127.0.0.1\n    tls {certificate} {certificate}",
        },
    )
    config = folder / "Caddyfile"
    # Caddy would also redirect what comes to port 80, and take orders on 2019.
    config.write_text(f"{{\n    admin off\n    auto_https disable_redirects\n}}\n{site}")
    command = (CADDY, "run", "--adapter", "caddyfile", "--config", str(config))
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    async with _proxy(command, here, folder, home, []) as url:
        yield url


@asynccontextmanager
async def _proxy(
    command: tuple[str, ...], port: int, folder: Path, given: dict[str, str], fds: list[int]
) -> AsyncIterator[str]:
    with (folder / "proxy.log").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=os.environ | given,
            stdin=DEVNULL,
            stdout=said,
            stderr=STDOUT,
            pass_fds=fds,
        )

    async def look() -> bool | None:
        assert process.returncode is None, (folder / "proxy.log").read_text()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return None
        writer.close()
        return True

    try:
        await eventually(look)
        yield f"https://localhost:{port}"
        assert process.returncode is None, (folder / "proxy.log").read_text()
    finally:
        if process.returncode is None:
            process.terminate()  # nginx ends its workers then
        await process.wait()


def _block(language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    return str(block)


def _changed(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"{old} is not on {_PAGE}"
        text = text.replace(old, new)
    return text
