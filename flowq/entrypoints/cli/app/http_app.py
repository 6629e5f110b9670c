"""The app that `flowq api` serves. Each process makes it from its environment."""

import os
from typing import Final

import click
from fastapi import FastAPI

from flowq.entrypoints.cli.app import apps, environment
from flowq.entrypoints.cli.app.loading import load_module, split
from flowq.entrypoints.http.app import create_app
from flowq.entrypoints.http.auth import is_loopback
from flowq.entrypoints.http.settings import http_settings
from flowq.entrypoints.worker import celery_app

#: Has the file of flows, for the processes that uvicorn starts.
_TARGET: Final = "_FLOWQ_API_TARGET"


def remember(target: str | None, *, insecure: bool) -> None:
    """Set the environment of this process and its children from the command line."""
    os.environ[_TARGET] = target or ""
    named = apps.named()
    if named:
        os.environ["FLOWQ_APP"] = named
    if insecure:
        os.environ["FLOWQ_HTTP_INSECURE"] = "1"
    http_settings.cache_clear()


def check_address(host: str) -> None:
    """Refuse to listen where other machines would be answered without a token.

    Raises:
        UsageError: they would.
    """
    chosen = http_settings()
    if chosen.http_auth != "local" or chosen.http_insecure or is_loopback(host):
        return
    raise click.UsageError(
        f"clients on other machines could use {host} without a token. Set FLOWQ_HTTP_AUTH=tokens "
        "(type: flowq docs http), or say --insecure."
    )


def has_docs() -> bool:
    """Return whether the app shows its documentation."""
    return http_settings().http_auth == "local"


def make() -> FastAPI:
    """Return the app, over the flows that were named and a migrated database.

    Raises:
        FlowNotFound: the file or the app cannot be imported.
        InvalidSetting: a setting cannot be used.
        Unavailable: Redis or the database cannot be used.
    """
    environment.settings()
    target = os.environ.get(_TARGET)
    app = apps.use_named()
    if target:
        file, name = split(target)
        module = load_module(file)
        if app is None and apps.app_in(module, file, name) is None:
            celery_app(module.__name__)  # as `flowq worker FILE` does
    environment.prepare()
    return create_app()
