"""The Flows tab: runs, their graphs, times, errors and costs as pages inside Flower.

Flower has no plug-in API, so the way in are Tornado's documented hooks: a template loader that adds
one tab to Flower's own navbar (`templates`), and rules added to its application (`app`). The pages
share Flower's login, theme and url_prefix: their handlers are Flower's (`page`). What they show
is read from the records, never from Flower's memory, which forgets.

Three ways to start it: `flowq flower FILE`; `celery -A module dashboard`; or, for who insists on
`celery -A module flower`, two lines in `flowerconfig.py`:

    from flowq.entrypoints.flower import install
    install()
"""


def install() -> None:
    """Put the tab into a Flower that is about to be made; for `flowerconfig.py`.

    Safe to call twice.
    """
    # Loaded here: each `celery` command imports this package, whatever its app.
    from flowq.entrypoints.flower.app import install  # noqa: PLC0415

    install()


__all__ = ["install"]
