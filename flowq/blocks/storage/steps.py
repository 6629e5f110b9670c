"""Contents of blocks within a step: what an edge takes, and what it returns.

An edge returns a cell for each block: `{"content": value}`, or for a content that it has stored
`{"content": None, "external": metadata}`; the edges after it get the cell and load it. An edge that
passes on a content which its own run has stored returns the same place, so a run stores a content
once. One of another run is stored again: it is deleted with that run. Who follows the run sees the
storing as a stream of a content type of its own, which names the block (`stream_of_block`).
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from flowq.blocks.storage.external import INTERNAL, BlockStorage, Version, read, write
from flowq.core.errors import FlowqError
from flowq.engine.runtime.attempt_objects import AttemptObjects
from flowq.engine.runtime.context import StepContext, current

#: The key that marks a cell whose content no step of this run has stored.
ELSEWHERE: Final = "elsewhere"
_STREAM: Final = "application/x-flowq-block; "


def store(
    block_id: str,
    value: Any,
    storage_class: str = INTERNAL,
    stored: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the cell that the running step returns for a block; store its content if it is large.

    Args:
        block_id: The block.
        value: Its content: JSON data, text or bytes; None stays in the block.
        storage_class: That of the block.
        stored: Where the same content is already; it is not stored again.

    Raises:
        NotSerializable: it is no JSON data, text or bytes.
        StoreUnavailable: the store refuses or does not answer.
    """
    context = current()
    objects = _objects(context)
    storage = BlockStorage(
        objects.store, objects.threshold_bytes, lambda: objects.version, objects.now
    )
    if value is None or not storage.is_external(value, storage_class):
        return {"content": value}
    if stored is not None:
        return {"content": None, "external": dict(stored)}
    version = Version.new(storage, block_id, value, objects.user_id)
    with context.stream.open(_content_type(version)):
        return {"content": None, "external": write(storage, version, value)}


def load(cell: Mapping[str, Any]) -> Any:
    """Return the content of a cell.

    Raises:
        ResultMissing: it is gone from the object store.
        ResultCorrupt: it is not what was written.
        StoreUnavailable: the store refuses or does not answer.
    """
    if "external" not in cell:
        return cell["content"]
    return read(_objects(current()).store(), cell["external"])


def _objects(context: StepContext) -> AttemptObjects:
    if context.objects is None:
        raise FlowqError(
            "this step has no object store", hint="run it by flowq, on a worker or in a test"
        )
    return context.objects()


def _content_type(version: Version) -> str:
    facts = {
        "block_id": version.block_id,
        "version_id": version.id,
        "content_type": version.content_type,
        "resource_key": version.key,
    }
    return _STREAM + urlencode(facts, errors="surrogatepass")


def stream_of_block(content_type: str) -> dict[str, str] | None:
    """Return which block a stream stores, or None when it is a stream of text.

    Returns:
        `block_id`, `version_id`, `content_type` and `resource_key`.
    """
    if not content_type.startswith(_STREAM):
        return None
    return dict(parse_qsl(content_type.removeprefix(_STREAM), errors="surrogatepass"))
