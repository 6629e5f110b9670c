"""Options that several commands have."""

import re
from datetime import datetime, timedelta
from typing import Any, Final

import click
from typing_extensions import override


class _Moment(click.ParamType[datetime]):
    """A time in ISO 8601; without an offset it is local time."""

    name = "time"

    @override
    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        try:
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time; write e.g. 2030-01-31T02:00:00+01:00", param, ctx)


class _Span(click.ParamType[timedelta]):
    """A length of time: `30m`, `2h`, `7d`; at most 99,999 of a unit, which databases can count."""

    name = "span"

    @override
    def convert(self, value: Any, param: Any, ctx: Any) -> timedelta:
        found = _SPAN.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no length of time; write e.g. 30m, 2h or 7d", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


_SPAN: Final = re.compile(r"(\d{1,5})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
MOMENT = _Moment()
SPAN = _Span()
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
inputs = click.option(
    "-p",
    "--param",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="An input of the flow, as JSON or as plain text. May be repeated.",
)
inputs_file = click.option(
    "--params",
    "file",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="Inputs as a JSON object in a file; - reads standard input. -p overrides it.",
)
wait = click.option(
    "--wait", is_flag=True, help="Show progress until the run ends; print its result."
)
timeout = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop waiting after this time; the run continues. Implies --wait.",
)
user = click.option("--user", metavar="ID", help="User that the run belongs to.")
run_id = click.argument("run_id", metavar="ID")
run_ids = click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
schedule_name = click.argument("name", metavar="NAME")
schedule_names = click.argument("names", metavar="NAME...", nargs=-1, required=True)
#: A day or a time, with or without an offset.
TIME = click.DateTime(
    ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
)
