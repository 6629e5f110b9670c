"""Large results in an object store, through obstore: a folder, memory, S3, GCS or Azure by one URL.

    file:///folder   memory://   s3://bucket/prefix   gs://bucket/prefix   az://container/prefix

Credentials, region and account come from the environment under the vendors' own names (`AWS_…`,
`GOOGLE_…`, `AZURE_…`). An S3 server of one's own is named by `AWS_ENDPOINT_URL`, or in the URL by
`?endpoint=http://localhost:9000`; `?region=` names a region. An endpoint given as `http://` is
spoken to without TLS.

obstore is not safe across fork(): one call in a process, and its forked children hang forever at
their first. So the store is opened at the first use, and this module remembers the process that
first used any store: a child of that one gets `StoreAfterFork` at once. Celery's main process
never uses a store, so its prefork children may.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, from_url
from typing_extensions import override

from flowq.adapters.results.keys import checked_key, is_key
from flowq.adapters.results.urls import StoreUrl, parse
from flowq.core.errors import ResultMissing, StoreAfterFork, StoreUnavailable
from flowq.core.text.masking import without_secrets
from flowq.engine.model.rows import ListedObject
from flowq.engine.ports.stores import ObjectStore

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Store  # Not there at run time.

MIB: Final = 1024 * 1024
_CHUNK: Final = 5 * MIB  #: The smallest part S3 takes.
_MAX_PARTS: Final = 9_000  #: S3 takes 10,000.
_CONCURRENCY: Final = 4  #: Parts under way at once: bounds memory.
_PART: Final = 4 * MIB  #: The most that a reader gets at once.
_DELETED_AT_ONCE: Final = 1_000
_PAGE: Final = 1_000  #: Objects that are listed at once.

#: The process that used a store first; forked children inherit the number, and with it the trouble.
_used_by: int | None = None
#: `memory://` is one store per process, whoever opens it.
_memory: "Store | None" = None


def open_store(url: str, **config: str) -> "ObstoreObjects":
    """Return the store of a URL. Nothing is opened, and no network touched, before its first use.

    Args:
        url: See the module; `FLOWQ_RESULTS_URL`.
        config: obstore's configuration of that vendor, e.g. `access_key_id`; wins over the
            environment.

    Raises:
        StoreUnavailable: the URL is not understood.
    """
    return ObstoreObjects(parse(url, config))


class ObstoreObjects(ObjectStore):
    """`ObjectStore` on obstore; safe to share among threads.

    Args:
        url: What to open.
    """

    def __init__(self, url: StoreUrl) -> None:
        self._url = url
        self._store: Store | None = None

    @override
    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, more than 5 MiB in parts, a file without reading it whole."""
        checked_key(key)
        with self._talking("write", key) as store:
            size = data.stat().st_size if isinstance(data, Path) else len(data)
            chunk = max(_CHUNK, -(-size // _MAX_PARTS))
            obstore.put(store, key, data, chunk_size=chunk, max_concurrency=_CONCURRENCY)

    @override
    def get(self, key: str) -> bytes:
        checked_key(key)
        with self._talking("read", key) as store:
            return obstore.get(store, key).bytes().to_bytes()

    @override
    def stream(self, key: str) -> Iterator[bytes]:
        checked_key(key)
        with self._talking("read", key) as store:
            parts = iter(obstore.get(store, key).stream(min_chunk_size=_PART))
        while True:
            # The reader's own errors, raised while it holds a part, are not the store's.
            with self._talking("read", key):
                part = next(parts, None)
            if part is None:
                return
            # Memory gives the whole at once, the others sometimes more than they were asked for.
            view = memoryview(part)
            for start in range(0, len(view), _PART):
                yield bytes(view[start : start + _PART])

    @override
    def delete(self, keys: Sequence[str]) -> None:
        checked = [checked_key(key) for key in keys]
        for start in range(0, len(checked), _DELETED_AT_ONCE):
            part = checked[start : start + _DELETED_AT_ONCE]
            with self._talking("delete", part[0]) as store:
                _delete(store, part)

    @override
    def size(self, key: str) -> int | None:
        checked_key(key)
        try:
            with self._talking("read", key) as store:
                return obstore.head(store, key)["size"]
        except ResultMissing:
            return None

    @override
    def list(self, prefix: str, *, after: str = "") -> Iterator[Sequence[ListedObject]]:
        checked_key(prefix)
        with self._talking("list", prefix) as store:
            if isinstance(store, LocalStore):
                pages = _in_folder(self._url.folder, prefix, after)
            else:
                pages = _listed(store, prefix, after)
        while True:
            with self._talking("list", prefix):
                page = next(pages, None)
            if page is None:
                return
            yield page

    @override
    def url(self, key: str, expires: timedelta) -> str:
        checked_key(key)
        with self._talking("sign", key) as store:
            if isinstance(store, LocalStore):
                return (self._url.folder / key).as_uri()
            if isinstance(store, MemoryStore):
                return f"memory:///{key}"
            signing: Any = store
            return str(obstore.sign(signing, "GET", key, expires))

    @override
    def check(self) -> None:
        key, probe = f"flowq-check/{uuid4().hex}", b"flowq"
        self.put(key, probe)
        try:
            found = self.get(key)
        except ResultMissing as error:
            raise StoreUnavailable(f"{self._url}: a new object cannot be read back") from error
        if found != probe:
            raise StoreUnavailable(
                f"{self._url}: the data that is read differs from what was written"
            )
        self.delete([key])

    @contextmanager
    def _talking(self, verb: str, key: str) -> "Iterator[Store]":
        """Yield the opened store, and turn what it raises into errors of flowq."""
        _guard_fork()
        try:
            if self._store is None:
                self._store = _open(self._url)
            yield self._store
        except FileNotFoundError as error:
            raise self._not_found(verb, key, error) from error
        except Exception as error:
            if not _from_store(error):
                raise
            raise self._unavailable(verb, key, error) from error

    def _not_found(self, verb: str, key: str, error: Exception) -> Exception:
        if verb != "read" or "NoSuchBucket" in str(error):
            return self._unavailable(verb, key, error)
        return ResultMissing(
            f"there is no object {key} in {self._url}",
            hint="its step must run again: start a new run; if FLOWQ_RESULTS_URL was changed, "
            "copy the objects to the new place",
        )

    def _unavailable(self, verb: str, key: str, error: Exception) -> StoreUnavailable:
        # obstore appends a dump of its inner state after the first line.
        reason = without_secrets(str(error).partition("\n")[0])[:300]
        return StoreUnavailable(
            f"the object store {self._url} cannot {verb} {key}: {reason}",
            hint="check FLOWQ_RESULTS_URL, the credentials and the bucket; then: flowq doctor",
        )


def _guard_fork() -> None:
    """Remember this process as the one that uses stores, or refuse if its parent was."""
    global _used_by  # noqa: PLW0603 - one fact per process, inherited by fork on purpose
    pid = os.getpid()
    if _used_by is None:
        _used_by = pid
    elif _used_by != pid:
        raise StoreAfterFork(
            f"the object store was opened in process {_used_by} before it forked this process "
            f"({pid}); using it here would hang",
            hint="do not read results before the fork (no `run.result()` while a module that a "
            "prefork worker loads is imported), or use `--pool threads`; with multiprocessing use "
            'get_context("spawn")',
        )


def _open(url: StoreUrl) -> "Store":
    if url.scheme == "memory":
        global _memory  # noqa: PLW0603 - one store per process, so that all its users meet
        if _memory is None:
            _memory = MemoryStore()
        return _memory
    if url.scheme == "file":
        return LocalStore(url.folder, mkdir=True, automatic_cleanup=True)
    connect: Callable[..., Any] = from_url  # Typed per vendor; which one it is, only the URL says.
    store: Store = connect(
        url.location,
        config=dict(url.config) or None,
        client_options=url.client_options(),
        retry_config=url.retry_config(),
    )
    return store


def _from_store(error: Exception) -> bool:
    return isinstance(error, BaseError | OSError)


def _delete(store: "Store", keys: Sequence[str]) -> None:
    try:
        obstore.delete(store, keys)
    except FileNotFoundError:
        # Folders stop at the first that is not there; the others must go all the same.
        for key in keys:
            try:
                obstore.delete(store, key)
            except FileNotFoundError:
                continue


def _listed(store: "Store", prefix: str, after: str) -> Iterator[Sequence[ListedObject]]:
    now = datetime.now(UTC)
    for page in obstore.list(store, prefix, offset=after or None, chunk_size=_PAGE):
        yield [ListedObject(one["path"], now - one["last_modified"]) for one in page]


def _in_folder(folder: Path, prefix: str, after: str) -> Iterator[Sequence[ListedObject]]:
    files = _walk(folder / prefix, f"{prefix}/", after)
    while page := list(islice(files, _PAGE)):
        yield page


def _walk(folder: Path, prefix: str, after: str) -> Iterator[ListedObject]:
    """Yield the objects in a folder by their keys, and pass over folders that lie before `after`.

    obstore gives the files of a folder in no order, so nobody could go on later where he stopped.
    """
    try:
        entries = [f"{one.name}/" if one.is_dir() else one.name for one in folder.iterdir()]
    except FileNotFoundError:
        return  # nothing was ever stored there, or the folder has become empty meanwhile
    for name in sorted(entries):
        key, last = prefix + name, prefix + name + "\U0010ffff"
        if name.endswith("/"):
            if last > after:
                yield from _walk(folder / name, key, after)
        elif key > after and is_key(key):
            with suppress(FileNotFoundError):
                written = datetime.fromtimestamp((folder / name).stat().st_mtime, UTC)
                yield ListedObject(key, datetime.now(UTC) - written)
