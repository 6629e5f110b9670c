"""The addresses of schedules: no name can be taken for the address of another route."""

import re

from flowq.core.schedules.spec import RESERVED_PARTS
from flowq.entrypoints.flower.app import RULES
from flowq.entrypoints.flower.pages.schedules import ACTIONS
from flowq.entrypoints.http.schedules.routes import router


def test_what_follows_a_name_in_an_address_is_reserved() -> None:
    over_http = [re.fullmatch(r".*\{name:path\}/(.+)", route.path) for route in router.routes]  # type: ignore[attr-defined]
    in_flower = [
        re.fullmatch(r"/flows/schedules/\(\.\+\)/([^$]+)\$?", rule.regex.pattern) for rule in RULES
    ]
    found = {one[1] for one in [*over_http, *in_flower] if one} - {f"({'|'.join(ACTIONS)})"}

    assert found | set(ACTIONS) == RESERVED_PARTS
