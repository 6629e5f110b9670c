"""The combinations of looped inputs, and the result of an edge over them. Pure.

A looped list is replaced by its items, a looped dict by `{key: value}` of each key. Combinations
are the product in the order of the inputs; the last input changes fastest. With one combination the
result is that of the edge, and no list.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, Final

from flowq.blocks.errors import Code, EdgeFailed

#: Combinations with which one edge runs.
MOST: Final = 100_000

#: An input as an edge step gets it: `id`, `label`, `looped`, and its `content`.
Input = Mapping[str, Any]


def combinations(inputs: Sequence[Input], *, as_texts: bool) -> Iterator[dict[str, Any]]:
    """Yield the contents by label, once for each combination of looped items.

    Args:
        inputs: Of an edge, in the order of its document.
        as_texts: Whether items become text.

    Raises:
        EdgeFailed: there are too many.
    """
    choices = [_choices(one, as_texts=as_texts) for one in inputs]
    count = prod(map(len, choices))
    if count > MOST:
        raise EdgeFailed(
            Code.LIMIT, f"the looped inputs have {count:,} combinations, the limit is {MOST:,}"
        )
    labels = [one["label"] for one in inputs]
    for chosen in product(*choices):
        yield dict(zip(labels, chosen, strict=True))


def _choices(one: Input, *, as_texts: bool) -> list[Any]:
    content = one["content"]
    if not one["looped"] or not isinstance(content, list | dict):
        return [content]
    items = content if isinstance(content, list) else [{key: content[key]} for key in content]
    return [str(item) for item in items] if as_texts else list(items)


def joined(results: Sequence[Any]) -> Any:
    """Return what an edge has made: the result of one combination, or the list of all."""
    return results[0] if len(results) == 1 else list(results)


def branches(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what an edge that chooses its outputs has made, by block; what it left is not there.

    Args:
        results: Of each combination, the contents by block.
    """
    chosen = dict.fromkeys(block for result in results for block in result)
    made = {block: [one[block] for one in results if block in one] for block in chosen}
    return {block: joined(each) if len(results) == 1 else each for block, each in made.items()}
