"""Signatures as text, for messages.

`inspect` shows annotations with their full modules, which hides the important part.
"""

from inspect import Parameter, Signature
from typing import Any


def describe(label: str, signature: Signature) -> str:
    """Return a signature as its author wrote it, with the short names of classes."""
    parts = []
    for name, parameter in signature.parameters.items():
        typed = parameter.annotation is not Parameter.empty
        part = f"{name}: {describe_type(parameter.annotation)}" if typed else name
        if parameter.default is not Parameter.empty:
            part += f" = {parameter.default!r}" if typed else f"={parameter.default!r}"
        parts.append(part)
    returns = signature.return_annotation
    arrow = "" if returns is Signature.empty else f" -> {describe_type(returns)}"
    return f"{label}({', '.join(parts)}){arrow}"


def describe_type(annotation: Any) -> str:
    """Return an annotation as its author wrote it."""
    if isinstance(annotation, str):
        return annotation
    simple = isinstance(annotation, type) and not hasattr(annotation, "__args__")
    return annotation.__qualname__ if simple else str(annotation).replace("typing.", "")
