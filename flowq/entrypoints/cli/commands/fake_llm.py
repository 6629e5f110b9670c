"""`flowq fake-llm`: the fake model server in the foreground."""

import click

from flowq.core.errors import Unavailable
from flowq.entrypoints.cli.group import INTERRUPTED, OK


@click.command("fake-llm")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8399,
    show_default=True,
    help="Port to listen on; 0 chooses a free one.",
)
@click.option(
    "--latency",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Delay before each answer.",
)
def fake_llm(*, host: str, port: int, latency: float) -> int:
    """Serve an OpenAI-compatible API without a model.

    For tests and trials without a key: text, tools, JSON schemas, streaming and images, always the
    same for the same request. The model's name chooses faults: fake-429x2, fake-3s, fake-cut.
    """
    from flowq.entrypoints.cli.display import console
    from flowq.entrypoints.fake_llm import FakeLlm

    try:
        server = FakeLlm(port, host=host, latency=latency)
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="give another port: flowq fake-llm --port 8400",
        ) from error
    # On standard output, and at once: a script that has chosen port 0 reads the address here.
    print(server.url, flush=True)  # noqa: T201 - the command's result
    console.note("To use it as a model, type in another terminal:")
    console.note(f"  export FLOWQ_MODEL=openai:fake FLOWQ_OPENAI_BASE_URL={server.url}")
    console.note(f"Requests received: {server.url.removesuffix('/v1')}/stats    Ctrl-C stops it.")
    try:
        server.run()
    except KeyboardInterrupt:
        return INTERRUPTED
    return OK
