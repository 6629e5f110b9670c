"""A picture is a PNG of the size that was asked for."""

import struct

import pytest

from flowq.entrypoints.fake_llm.pictures import png


@pytest.mark.parametrize(
    "size, wide, high", [("64x32", 64, 32), ("1024x1024", 1024, 1024), ("auto", 1024, 1024)]
)
def test_picture_has_its_size(size: str, wide: int, high: int) -> None:
    data = png("a cat", size)

    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert (wide, high) == struct.unpack(">II", data[16:24])
    assert len(data) < 2000


def test_pictures_of_other_prompts_differ() -> None:
    assert png("a cat", "8x8") == png("a cat", "8x8")
    assert png("a cat", "8x8") != png("a dog", "8x8")
