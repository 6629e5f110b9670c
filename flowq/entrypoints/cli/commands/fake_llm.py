"""`flowq fake-llm`: the server of `flowq.entrypoints.fake_llm` in the foreground."""

from flowq.core.errors import Unavailable
from flowq.entrypoints.cli.display import console as looks
from flowq.entrypoints.cli.group import INTERRUPTED
from flowq.entrypoints.fake_llm import FakeLlm


def fake_llm(*, host: str, port: int, latency: float) -> int:
    """Serve until interrupted.

    Raises:
        Unavailable: the port is taken.
    """
    try:
        server = FakeLlm(port, host=host, latency=latency)
    except OSError as error:
        raise Unavailable(
            f"nothing can listen on {host}:{port}: {error.strerror}",
            hint="give another port: flowq fake-llm --port 8400",
        ) from error
    # On standard output, and at once: a script that has chosen port 0 reads the address here.
    print(server.url, flush=True)  # noqa: T201 - the command's result
    looks.note("Use it as a model, say in another terminal:")
    looks.note(f"  export FLOWQ_MODEL=openai:fake FLOWQ_OPENAI_BASE_URL={server.url}")
    looks.note(f"What was asked of it: {server.url.removesuffix('/v1')}/stats    Ctrl-C ends it.")
    try:
        server.run()
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
