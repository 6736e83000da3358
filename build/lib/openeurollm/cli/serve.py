"""`openeurollm serve`: a model on this machine."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from openeurollm.cli.frame import AsJson, app, print_json


@app.command()
def serve(
    release: Annotated[Path, typer.Argument(help="A release, or another Hugging Face folder.", show_default=False)],
    host: Annotated[
        str, typer.Option(help="Address to listen on; others reach this machine under 0.0.0.0.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 finds a free one.", min=0, max=65535)] = 8000,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads that answer.  [default: physical cores less one]", min=1, show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve a model: an OpenAI-compatible API and a chat page."""
    from openeurollm.serve.app import application
    from openeurollm.serve.guard import is_loopback
    from openeurollm.serve.model import load
    from openeurollm.serve.model import threads as spare
    from openeurollm.serve.server import bind, run

    listening = bind(host, port)
    with listening:
        model = load(release)
        threads = threads or spare()
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        if not is_loopback(host):
            print("warning: anyone who reaches this machine can use this server", file=sys.stderr)
        if as_json:
            print_json({"address": address, "model": model.name, "context": model.context, "threads": threads})
        else:
            print(f"{model.name} answers at {address} (API: {address}/v1; threads: {threads}). Ctrl-C stops it.")
        sys.stdout.flush()
        run(application(model, threads, host), listening)
