"""What how-to pages show of servers that a page cannot start: PgBouncer, RabbitMQ, Prometheus.

The settings of a page are used as they are shown; the addresses are those of the suite.
"""

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import make_url

from tests.acceptance.commands import Shell
from tests.tools import servers
from tests.tools.brokers.rabbitmq import RabbitMq
from tests.tools.docs.output import pattern
from tests.tools.docs.pages import ROOT, blocks

HOW_TO = ROOT / "docs/how-to"
COLLECTOR = ROOT / "flowq/entrypoints/flower/metrics/collector.py"


def shown(page: str, language: str, first: str = "") -> list[str]:
    """Return the blocks of a page in a language, or those that begin with a text."""
    found = blocks(HOW_TO / f"{page}.md")
    return [one.text for one in found if one.language == language and one.text.startswith(first)]


def line_of(page: str, name: str) -> re.Pattern[str]:
    """Return the line of `flowq doctor` that a page shows, without the address of its server."""
    [text] = shown(page, "text", f"✓ {name}")
    said = text.removeprefix(f"✓ {name}").strip()
    said = re.sub(r"\d+\.\d+(\.\d+)?", "…", said)
    return pattern(re.sub(r"\b[\w.]+\.internal:\d+/\w+", "…", said))[0]


def doctor(shell: Shell) -> dict[str, str]:
    done = shell.flowq("doctor", "--json")
    return {one["name"]: one["text"] for one in done.json["checks"]}


def test_pgbouncer_with_the_settings_of_the_page(tmp_path: Path, postgres_url: str) -> None:
    [text] = shown("use-pgbouncer", "ini")
    given = configparser.ConfigParser()
    given.read_string(text)
    options = dict(given["pgbouncer"])
    # The suite's PgBouncer may be older, and has its own port and users.
    for name in ("max_prepared_statements", "listen_port", "auth_type", "auth_file"):
        del options[name]

    with servers.pgbouncer(make_url(postgres_url), **options) as pooler:
        url = pooler.render_as_string(hide_password=False)
        shell = Shell(tmp_path, {"FLOWQ_DATABASE_URL": url})
        assert 0 == shell.flowq("db", "upgrade").code
        said = doctor(shell)["database"]

    assert line_of("use-pgbouncer", "database").fullmatch(said), said


def test_doctor_says_of_rabbitmq_what_the_page_shows(
    tmp_path: Path, rabbitmq_node: RabbitMq
) -> None:
    said = doctor(Shell(tmp_path, {"FLOWQ_BROKER_URL": rabbitmq_node.url}))["broker"]
    assert line_of("use-rabbitmq", "broker").fullmatch(said), said


def rules() -> list[dict[str, Any]]:
    [text] = shown("alert-with-prometheus", "yaml", "groups:")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_alert_names_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    source = COLLECTOR.read_text(encoding="utf-8")
    names = re.findall(r"\bflowq_\w+", rule["expr"])
    labels = re.findall(r"[{,](\w+)=", rule["expr"])
    labels += re.findall(r"\w+", ",".join(re.findall(r"by \(([^)]*)\)", rule["expr"])))

    assert names
    for name in names:
        assert f'"{re.sub("_(total|bucket)$", "", name)}"' in source, name
    for label in set(labels) - {"le"}:
        assert f'"{label}"' in source, label


def test_each_alert_has_a_remedy() -> None:
    page = (HOW_TO / "alert-with-prometheus.md").read_text(encoding="utf-8")
    assert [rule["alert"] for rule in rules()] == re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)


def test_kubernetes_waits_longer_than_a_worker_stops() -> None:
    [text] = shown("deploy-on-kubernetes", "yaml", "apiVersion: apps/v1")
    pod = yaml.safe_load(text)["spec"]["template"]["spec"]
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.read_string(shown("deploy-with-systemd", "ini")[0])
    grace = 25  # FLOWQ_STOP_GRACE_SECONDS

    assert pod["terminationGracePeriodSeconds"] > grace
    assert int(unit["Service"]["TimeoutStopSec"]) > grace
