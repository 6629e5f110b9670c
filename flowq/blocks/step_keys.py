"""The keys of the steps that a document is compiled to, beside those of its edges. Pure.

An edge has its own id as key. Compiler, reports and the check of ids have to agree on the others.
"""


def of_block(block: str) -> str:
    """Return the key of the given value, or of the step, that provides a block."""
    return f"block:{block}"


def of_items(edge: str) -> str:
    """Return the key of the step that makes the items of a looped edge."""
    return f"{edge}::items"


def of_result(edge: str) -> str:
    """Return the key of the step that ends a looped edge."""
    return f"{edge}::result"
