"""`flowq api` says what it lacks, and whom it would let in."""

import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from flowq.entrypoints.cli.app import http_app
from flowq.entrypoints.cli.main import main
from flowq.entrypoints.http.settings import http_settings


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("_FLOWQ_API_TARGET", "FLOWQ_HTTP_INSECURE", "FLOWQ_HTTP_AUTH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(http_app, "make", lambda: None)
    http_settings.cache_clear()
    yield
    http_settings.cache_clear()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What uvicorn is asked to serve."""
    asked: list[dict[str, object]] = []
    monkeypatch.setattr("uvicorn.run", lambda app, **given: asked.append({"app": app, **given}))
    return asked


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = CliRunner().invoke(main, ["api"])
    assert 2 == done.exit_code
    assert 'pip install "flowq[http]"' in done.output


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "flowq.example.com"])
def test_address_that_others_reach_needs_tokens(
    served: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    refused = CliRunner().invoke(main, ["api", "--host", host])
    assert (2, []) == (refused.exit_code, served)
    assert "--insecure" in refused.output

    assert 0 == CliRunner().invoke(main, ["api", "--host", host, "--insecure"]).exit_code
    monkeypatch.setenv("FLOWQ_HTTP_INSECURE", "")
    monkeypatch.setenv("FLOWQ_HTTP_AUTH", "jwt")
    monkeypatch.setenv("FLOWQ_HTTP_JWT_KEY", "a secret of at least thirty-two bytes")
    http_settings.cache_clear()
    assert 0 == CliRunner().invoke(main, ["api", "--host", host]).exit_code
    assert [host, host] == [each["host"] for each in served]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_options_reach_the_server(served: list[dict[str, object]], host: str) -> None:
    done = CliRunner().invoke(main, ["api", "--host", host, "--port", "9001", "--workers", "3"])
    assert 0 == done.exit_code, done.output
    assert [(host, 9001, 3, True)] == [
        (each["host"], each["port"], each["workers"], each["factory"]) for each in served
    ]
