"""What every `ObjectStore` does: it keeps objects durably, and says what it cannot do."""

import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from flowq.adapters.results.memory import MemoryObjects
from flowq.adapters.results.objects import open_store
from flowq.core.errors import ResultMissing, StoreUnavailable
from flowq.engine.ports import ObjectStore

MIB = 1024 * 1024


@pytest.fixture(params=["dict", "memory", "file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "dict":
        return MemoryObjects()
    if request.param == "memory":
        return open_store("memory://")
    if request.param == "file":
        return open_store(f"file://{tmp_path}/a%20folder/new")
    return open_store(request.getfixturevalue("s3_url"))


@pytest.fixture
def key() -> str:
    return f"results/{uuid4()}/{uuid4()}/{uuid4()}"


@pytest.mark.parametrize("size", [0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 12 * MIB])
def test_bytes_come_back_whole_and_in_parts(store: ObjectStore, key: str, size: int) -> None:
    """The sizes lie around the one above which an object is written in parts."""
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    store.put(key, data)
    whole = store.get(key)
    assert type(whole) is bytes
    assert data == whole
    parts = list(store.stream(key))
    assert all(type(part) is bytes for part in parts)
    assert data == b"".join(parts)


@pytest.mark.parametrize("size", [0, 3, 11 * MIB])
def test_a_file_is_written(store: ObjectStore, key: str, tmp_path: Path, size: int) -> None:
    path = tmp_path / "content"
    path.write_bytes(b"y" * size)
    store.put(key, path)
    assert path.read_bytes() == store.get(key)
    assert path.exists()


def test_a_large_object_is_streamed_in_more_than_one_part(store: ObjectStore, key: str) -> None:
    store.put(key, b"x" * (20 * MIB))
    sizes = [len(part) for part in store.stream(key)]
    assert len(sizes) > 1
    assert max(sizes) <= 4 * MIB


def test_an_object_has_the_size_of_what_was_written(store: ObjectStore, key: str) -> None:
    assert store.size(key) is None
    store.put(f"{key}/full", b"x" * (6 * MIB))
    store.put(f"{key}/empty", b"")
    assert (6 * MIB, 0) == (store.size(f"{key}/full"), store.size(f"{key}/empty"))


def test_a_file_that_is_gone_is_reported(store: ObjectStore, key: str, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="none"):
        store.put(key, tmp_path / "none")


def test_the_last_write_counts(store: ObjectStore, key: str) -> None:
    store.put(key, b"old")
    store.put(key, b"new")
    assert b"new" == store.get(key)


def test_what_is_not_there_is_missing(store: ObjectStore, key: str) -> None:
    with pytest.raises(ResultMissing, match=key) as caught:
        store.get(key)
    assert caught.value.hint
    with pytest.raises(ResultMissing):
        list(store.stream(key))


def test_deleted_objects_are_gone_and_others_are_not(store: ObjectStore, key: str) -> None:
    """One that is not there keeps none of the others."""
    for name in ("a", "b", "c"):
        store.put(f"{key}/{name}", b"x")
    store.delete([f"{key}/none", f"{key}/a", f"{key}/gone/too", f"{key}/b"])
    store.delete([])
    for name in ("a", "b"):
        with pytest.raises(ResultMissing):
            store.get(f"{key}/{name}")
    assert b"x" == store.get(f"{key}/c")


@pytest.mark.parametrize(
    "wrong", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "a b", "a\\b", "é", "a" * 1000]
)
def test_a_key_that_some_store_would_bend_is_refused(store: ObjectStore, wrong: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        store.put(wrong, b"x")
    with pytest.raises(ValueError, match="not a key"):
        store.get(wrong)
    with pytest.raises(ValueError, match="not a key"):
        store.delete([wrong])


def test_a_store_that_works_passes_its_check(store: ObjectStore) -> None:
    store.check()
    if isinstance(store, MemoryObjects):
        assert [] == store.keys()


def test_threads_may_share_one(store: ObjectStore, key: str) -> None:
    def work(number: int) -> None:
        for turn in range(5):
            data = bytes([number, turn]) * 1000
            store.put(f"{key}/{number}", data)
            assert data == store.get(f"{key}/{number}")
        store.delete([f"{key}/{number}"])
        done.append(number)

    done: list[int] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 6 == len(done)


# --- URLs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url,why",
    [
        ("", "unknown kind"),
        ("results", "unknown kind"),
        ("ftp://host/a", "unknown kind"),
        ("file://results/a", "absolute path"),
        ("file://", "absolute path"),
        ("file:///", "absolute path"),
        ("s3://", "bucket is missing"),
        ("s3://bucket/a?secret=x", "'secret' is not a parameter"),
    ],
)
def test_a_url_that_is_not_understood_says_what_is(url: str, why: str) -> None:
    with pytest.raises(StoreUnavailable, match=why) as caught:
        open_store(url)
    assert "s3://bucket/prefix" in str(caught.value)


def test_an_error_shows_no_secret_of_the_url() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        open_store("ftp://user:hunter2@host/a?key=hunter3")
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize("url", ["gs://bucket/prefix", "az://container/prefix", "s3://bucket"])
def test_nothing_is_opened_before_its_first_use(url: str) -> None:
    open_store(url)


def test_memory_is_one_store_per_process(key: str) -> None:
    open_store("memory://").put(key, b"x")
    assert b"x" == open_store("memory://").get(key)


def test_a_prefix_keeps_flows_apart(s3_url: str, key: str) -> None:
    one, other = open_store(f"{s3_url}/one"), open_store(f"{s3_url}/other/")
    one.put(key, b"x")
    with pytest.raises(ResultMissing):
        other.get(key)
    assert b"x" == open_store(s3_url).get(f"one/{key}")


def test_an_endpoint_in_the_url_needs_no_environment(
    s3_url: str, moto_server: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "AWS_REGION"):
        monkeypatch.delenv(name)
    store = open_store(f"{s3_url}?endpoint={moto_server}&region=us-east-1")
    store.put(key, b"x")
    assert b"x" == store.get(key)


def test_a_local_endpoint_in_the_environment_is_enough(
    s3_url: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    open_store(s3_url).put(key, b"x")


# --- stores that do not work -------------------------------------------------------------------


def test_a_bucket_that_is_not_there_is_no_missing_result(s3_url: str, key: str) -> None:
    """Else a wrong setting would look like lost data."""
    store = open_store(s3_url.replace("s3://", "s3://no-"))
    for use in (lambda: store.get(key), lambda: store.put(key, b"x"), store.check):
        with pytest.raises(StoreUnavailable, match="FLOWQ_RESULTS_URL"):
            use()


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path, key: str) -> None:
    (tmp_path / "file").write_text("")
    store = open_store(f"file://{tmp_path}/file/folder")
    with pytest.raises(StoreUnavailable, match="write"):
        store.put(key, b"x")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


def test_a_server_that_is_away_is_reported_within_seconds(closed_port: int, key: str) -> None:
    store = open_store(f"s3://bucket?endpoint=http://127.0.0.1:{closed_port}", **CREDENTIALS)
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="cannot read") as caught:
        store.get(key)
    assert time.monotonic() - started < 60
    assert "\n\n" not in str(caught.value)
    assert CREDENTIALS["secret_access_key"] not in str(caught.value)


@pytest.mark.slow
def test_a_silent_server_is_reported_within_a_minute(silent_port: int, key: str) -> None:
    store = open_store(f"s3://bucket?endpoint=http://127.0.0.1:{silent_port}", **CREDENTIALS)
    for use in (lambda: store.get(key), lambda: store.put(key, b"x")):
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            use()
        assert time.monotonic() - started < 60


CREDENTIALS = {"access_key_id": "flowq-test", "secret_access_key": "flowq-test-secret"}


# --- lists -------------------------------------------------------------------------------------


def listed(store: ObjectStore, prefix: str, after: str = "") -> list[str]:
    return [one.key for page in store.list(prefix, after=after) for one in page]


def test_objects_are_listed_in_order_from_anywhere(store: ObjectStore, key: str) -> None:
    names = ["a/1", "a/2", "a-b/1", "a.b/1", "b", "b-/1", "c/d/e/1", "c/d/f"]
    keys = sorted(f"{key}/{name}" for name in names)
    for one in [*keys, f"{key}x/1"]:
        store.put(one, b"x")

    assert listed(store, key) == keys
    for start, one in enumerate(keys, start=1):
        assert listed(store, key, after=one) == keys[start:]
    assert listed(store, key, after=f"{key}/a/15") == keys[keys.index(f"{key}/a/1") + 1 :]
    assert listed(store, f"{key}/none") == []


def test_listed_objects_have_an_age(store: ObjectStore, key: str) -> None:
    store.put(key, b"x")
    ((found,),) = list(store.list(key.rpartition("/")[0]))

    # S3 says when to the second.
    assert -2 < found.age.total_seconds() < 60


def test_a_long_list_comes_in_pages(store: ObjectStore, key: str) -> None:
    for number in range(1_001):
        store.put(f"{key}/{number:04}", b"")

    assert [len(page) for page in store.list(key)] == [1_000, 1]


def test_objects_may_go_while_they_are_listed(store: ObjectStore, key: str) -> None:
    keys = [f"{key}/{number}/x" for number in range(5)]
    for one in keys:
        store.put(one, b"")
    pages = store.list(key)
    store.delete(keys[3:])

    found = [one.key for page in pages for one in page]

    assert found[:3] == keys[:3]


def test_a_list_of_a_store_that_is_away_is_reported(s3_url: str) -> None:
    store = open_store(s3_url.replace("s3://", "s3://no-"))
    with pytest.raises(StoreUnavailable, match="list"):
        list(store.list("results"))


def test_an_object_has_an_address_that_others_can_read(store: ObjectStore, key: str) -> None:
    """A file's, or one that is signed; only memory stays with its process."""
    store.put(f"{key}.png", b"picture")

    url = store.url(f"{key}.png", timedelta(minutes=5))

    if url.startswith("memory:///"):
        assert f"memory:///{key}.png" == url
        return
    with urllib.request.urlopen(url, timeout=60) as response:
        assert b"picture" == response.read()
