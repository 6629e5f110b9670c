"""The prose of a page: what is measured, what is left out, and where sentences end."""

import pytest

from tests.tools.docs.prose import CODE, Sentence, sentences

PAGE = """\
<!-- site only -->

# A title

One sentence with `code`, and a [link](page.md#there). Another
one over two lines.

- an item
  of two lines
- A second one. With two sentences.

```python
not prose. At all.
```

<!-- generated: table -->
| generated | too |
<!-- end -->

| head | `a | b` |
|---|---|
| a cell | Two. Sentences. |
"""


def test_prose_of_a_page_has_its_lines() -> None:
    assert [
        Sentence(3, "A title", is_measured=False),
        Sentence(5, f"One sentence with {CODE}, and a link."),
        Sentence(5, "Another one over two lines."),
        Sentence(8, "an item of two lines"),
        Sentence(10, "A second one."),
        Sentence(10, "With two sentences."),
        Sentence(20, "head", is_measured=False),
        Sentence(20, CODE, is_measured=False),
        Sentence(22, "a cell", is_measured=False),
        Sentence(22, "Two.", is_measured=False),
        Sentence(22, "Sentences.", is_measured=False),
    ] == list(sentences(PAGE))


@pytest.mark.parametrize(
    "text, words",
    [
        ("One, two: three.", [3]),
        ("It costs 1,000 USD, e.g. Berlin time.", [7]),
        ("`a b c` is one word.", [4]),
        ("Is it? (It is.) Yes!", [2, 2, 1]),
        ("flowq's own time-out is 0.5 s.", [6]),
        ("A table → a graph", [4]),
        ("**Bold begins.** *And* goes.", [2, 2]),
    ],
)
def test_words_are_counted(text: str, words: list[int]) -> None:
    assert words == [sentence.words for sentence in sentences(text)]
