"""`flowq api`: the HTTP service, in one process or in several.

Each process imports the file of flows by itself: with several, uvicorn starts them anew and calls
`flowq.entrypoints.cli.app.http_app` in each. The environment passes the arguments on to them.
"""

import click

from flowq.entrypoints.cli.group import OK


@click.command()
@click.argument("target", metavar="[FILE|MODULE]", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8001,
    show_default=True,
    help="Port to listen on; 0 chooses a free one.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="The number of processes.",
)
@click.option(
    "--insecure",
    is_flag=True,
    help="With local authentication, answer other machines too: they need no token.",
)
def api(target: str | None, *, host: str, port: int, workers: int, insecure: bool) -> int:
    """Serve the runs of all flows over HTTP.

    FILE or MODULE has the flows that may be started; without it runs can be shown, followed and
    changed. It starts no worker.
    """
    try:
        import uvicorn

        from flowq.entrypoints.cli.app import http_app
    except ImportError as error:
        raise click.UsageError(
            f'{error.name} is not installed. Type: pip install "flowq[http]"'
        ) from error
    from flowq.entrypoints.cli.display import console

    http_app.remember(target, insecure=insecure)
    http_app.check_address(host)
    http_app.make()  # what is wrong is reported here, once, and not by each process
    shown = f"[{host}]" if ":" in host else host
    if port:
        address = f"http://{shown}:{port}"
        docs = f"    documentation: {address}/docs" if http_app.has_docs() else ""
        console.note(address + docs)
    uvicorn.run(
        f"{http_app.__name__}:make",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        # Streams do not end by themselves; their clients reconnect.
        timeout_graceful_shutdown=3,
    )
    return OK
