"""The Flows tab: runs, their graphs, times, errors and costs as pages inside Flower.

Flower has no plug-in API, so flowq uses documented hooks of Tornado: a template loader adds one tab
to Flower's navbar (`templates`), and its application gets more rules (`app`). The pages share
Flower's login, theme and url_prefix, since their handlers derive from Flower's (`page`). They show
the records, never Flower's memory, which is limited.

Three ways to start it: `flowq flower FILE`; `celery -A module dashboard`; or `celery -A module
flower` with two lines in `flowerconfig.py`:

    from flowq.entrypoints.flower import install
    install()
"""


def install() -> None:
    """Add the tab to the Flower that this process starts; for `flowerconfig.py`.

    Safe to call twice.
    """
    # Imported here: every `celery` command imports this package, for every app.
    from flowq.entrypoints.flower.app import install  # noqa: PLC0415

    install()


__all__ = ["install"]
