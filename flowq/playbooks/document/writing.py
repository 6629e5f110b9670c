"""Writes plain data as YAML that people read: block style, keys in their order, code as `|`.

Reading by `reading` gives the data back. Both versions of YAML are in use, so a text that either
of them takes for something else (`yes`, `012`, `1e3`, a date) is quoted.
"""

import re
from functools import cache
from typing import Any, Final

#: Texts that YAML 1.2 reads as numbers and YAML 1.1 as texts.
_NUMBER_OF_1_2: Final = re.compile(r"[-+]?(0o[0-7]+|(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?)")
#: Characters that a block of text can hold without loss: none that YAML takes for a line's end.
_PRINTABLE: Final = re.compile(r"[\n\t -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]*")
#: What ends a line, in YAML or for its writer.
_BREAK: Final = re.compile("[\n\r\x85\u2028\u2029]")
_UNWRAPPED: Final = 1 << 30


def as_yaml(data: Any) -> str:
    """Return JSON data as YAML."""
    import yaml  # noqa: PLC0415 - an extra

    text: str = yaml.dump(
        data, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=_UNWRAPPED
    )
    return text


@cache
def _dumper() -> Any:
    import yaml  # noqa: PLC0415 - an extra

    class Dumper(yaml.SafeDumper):
        """Writes texts of several lines as blocks, and each value where it stands: no aliases."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the library's signature
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002, ARG002 - the library's signature
            super().increase_indent(flow, False)  # a list stands deeper than its key

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = None
        if _BREAK.search(value):
            style = "|" if _fits_block(value) else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)

    Dumper.add_representer(str, text)
    Dumper.add_implicit_resolver("tag:flowq,1.2", _NUMBER_OF_1_2, list("-+.0123456789"))
    return Dumper


def _fits_block(value: str) -> bool:
    lines = value.split("\n")
    return (
        _PRINTABLE.fullmatch(value) is not None
        and lines[0][:1] not in {" ", "\t", ""}
        and all(line == line.rstrip() for line in lines)
    )
