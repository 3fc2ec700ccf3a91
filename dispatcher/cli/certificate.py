"""`dispatcher certificate`."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from dispatcher import files
from dispatcher.cli.asking import ask
from dispatcher.cli.job_ids import JobId, job_named
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, Server
from dispatcher.cli.output import print_lines, print_text
from dispatcher.client import Client
from dispatcher.errors import DispatcherError

__all__ = ["certificate"]


def certificate(
    job_id: JobId,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write; by default it is printed."),
    ] = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Certify a film: its hashes, engine and events, with proofs that the log has them.

    scripts/verify_proof.py checks the certificate without the dispatcher, with the film beside it.
    """

    async def work(client: Client) -> dict[str, Any]:
        return await client.certificate(await job_named(client, job_id))

    found = ask(server, api_key, work)
    text = msgspec.json.format(msgspec.json.encode(found))
    if output is None:
        print_lines(text)
        return
    try:
        draft = output.with_name(f".{output.name}.draft")
        files.write(output, text + b"\n", draft, replace=False)
    except FileExistsError as error:
        raise DispatcherError(f"{output} is there already, and is not replaced") from error
    except OSError as error:
        raise DispatcherError(f"{output}: can't be written: {error.strerror or error}") from error
    print_text(str(output))
