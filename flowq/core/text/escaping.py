r"""Makes text from outside safe to show to people and terminals.

An escape sequence can clear a screen or write to a clipboard, a line break can forge a line, a
bidirectional override can reorder a sentence. Control characters are replaced by their pictures
(␛), other invisible characters by their code (\u202e). Errors of flowq, the console of the CLI and
the formatters of logs use this (`entrypoints.escaping`). Pure.
"""

from collections.abc import Iterator
from typing import Final

#: Invisible characters other than control characters and surrogates: line and paragraph separators,
#: marks and overrides of direction, tags. Joiners are kept: words of some scripts, and emoji, need
#: them.
_UNSEEN: Final = (
    *(0x061C, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2060, 0x2070)),
    *(0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080)),
)


def _pictures() -> Iterator[tuple[int, str]]:
    yield from ((code, chr(0x2400 + code)) for code in range(0x20) if code != 0x09)
    yield 0x7F, "\N{SYMBOL FOR DELETE}"
    yield from ((code, f"\\x{code:02x}") for code in range(0x80, 0xA0))
    yield from ((code, _code(code)) for code in (*_UNSEEN, *range(0xD800, 0xE000)))


def _code(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


#: From characters to their replacements.
SHOWN: Final = dict(_pictures())
_IN_LINES: Final = {code: shown for code, shown in SHOWN.items() if code != 0x0A}


def escaped(text: str, *, lines: bool = False) -> str:
    """Return a text with visible replacements for control and invisible characters.

    Args:
        text: Any text.
        lines: Whether line breaks are kept; otherwise they are replaced too.
    """
    if text.isprintable():
        return text
    return text.translate(_IN_LINES if lines else SHOWN)
