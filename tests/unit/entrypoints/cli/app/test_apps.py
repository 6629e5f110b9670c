"""Which Celery app a command sends through."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from flowq import bootstrap
from flowq.core.errors import FlowNotFound
from flowq.entrypoints.cli.app import apps

SHOP = """
from celery import Celery

app = Celery("shop", broker="redis://localhost:1/0")
other = Celery("other", broker="redis://localhost:1/0")
number = 1
"""


def install(app: Celery) -> Celery:
    """Install flowq without a trace in this process."""
    bootstrap.use_app(app)
    return app


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with modules of a user's; nothing of them is left afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bootstrap, "_process", bootstrap._ProcessState())
    monkeypatch.setattr(apps, "install", install)
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "parts.py").write_text("x = 1\n")
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "__init__.py").touch()
    (tmp_path / "whole" / "celery.py").write_text(SHOP)
    before, path = set(sys.modules), sys.path.copy()
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def use(monkeypatch: pytest.MonkeyPatch, target: str) -> str:
    """Return the name of the app that a target stands for."""
    monkeypatch.setattr(apps, "named", lambda: target)
    app = apps.use_named()
    assert app is not None
    assert app is bootstrap.app()
    assert bootstrap.knows_app()
    return str(app.main)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "target, name",
    [
        ("shop", "shop"),
        ("shop:other", "other"),
        ("shop.py", "shop"),
        ("./shop.py:other", "other"),
        ("whole", "shop"),
        ("whole.celery", "shop"),
        ("whole/celery.py:other", "other"),
    ],
)
def test_app_is_named_as_celery_names_it_or_by_its_file(
    monkeypatch: pytest.MonkeyPatch, target: str, name: str
) -> None:
    assert use(monkeypatch, target) == name


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "target, words",
    [
        ("nowhere", "there is no module 'nowhere'"),
        ("nowhere.py", "no file nowhere.py"),
        ("parts", "parts is not a Celery app"),
        ("shop:nothing", "shop:nothing is not a Celery app"),
        ("shop:number", "shop:number is not a Celery app"),
        ("broken", "division by zero"),
    ],
)
def test_app_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, target: str, words: str
) -> None:
    with pytest.raises(FlowNotFound, match=words) as refused:
        use(monkeypatch, target)

    assert "celery/app/utils" not in str(refused.value)
    assert not bootstrap.knows_app()


@pytest.mark.usefixtures("here")
def test_without_a_name_no_app_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "named", lambda: None)

    assert apps.use_named() is None
    assert not bootstrap.knows_app()
    assert bootstrap.app().main == "flowq"
    assert not bootstrap.knows_app()


@pytest.mark.usefixtures("here")
def test_a_module_of_edge_types_needs_no_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "named", lambda: "parts")

    assert apps.use_named(required=False) is None
    assert "parts" in sys.modules
    assert not bootstrap.knows_app()
