"""Pages, help and public docstrings are plain English, as CONTRIBUTING.md asks under "Language".

Two kinds of rules, both for the prose of all pages, without code and generated parts. Words and
habits that have stopped readers: each is a pattern with the reason, and an example that it finds.
And length: the bounds are those that the easy pages kept when the hard ones were rewritten.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Final

import click
import pytest

from flowq.entrypoints.cli.main import main
from tests.tools.docs.prose import Sentence, sentences

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = {
    str(page.relative_to(ROOT)): page
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
}

#: The packages whose `__all__` is public.
PACKAGES: Final = (
    "flowq",
    "flowq.blocks",
    "flowq.canvas",
    "flowq.errors",
    "flowq.pipeline",
    "flowq.playbooks",
    "flowq.testing",
    "flowq.workflows",
)

#: The most words of a sentence. Writers aim at 25; a list of names may need a few more.
LONGEST: Final = 28
#: The most words of a sentence on average, of pages with enough sentences for an average.
AVERAGE: Final = 15
ENOUGH: Final = 5


@dataclass(frozen=True)
class Rule:
    """A habit that stops readers: what finds it, why, and a sentence that has it."""

    pattern: str
    why: str
    example: str
    #: Whether it is a rule for sentences only: a cell of a table or a title may be a noun phrase.
    in_prose: bool = False

    def finds(self, sentence: Sentence) -> bool:
        """Return whether a sentence has the habit."""
        if self.in_prose and not sentence.is_measured:
            return False
        return re.search(self.pattern, sentence.text) is not None


RULES: Final = (
    Rule(
        r"^(What|Who)\b.*[^?:]$",
        "a clause as a subject: name the thing (the result, the step, a user)",
        "What ends it awaits queues it again.",
        in_prose=True,
    ),
    Rule(
        r"; (but |and |so )?(what|who)\b.*[^?]$",
        "a clause as a subject: name the thing",
        "The run is paused; what it had written stays.",
        in_prose=True,
    ),
    Rule(
        r"(?i)\b(whoever|whosoever|whatsoever|those who|they who)\b",
        "a person without a name: the caller, the client, a worker, an operator",
        "Whoever comes second sees the other.",
    ),
    Rule(
        r"\b(One|Ones) (that|who|which|whose)\b",
        "a pronoun far from its noun: repeat the noun",
        "One that is lost for good does.",
    ),
    Rule(
        r"\ball (that|who|which)\b(?! is (needed|left))",
        "a clause in place of a noun: everything, all steps, all callers",
        "It shows all that a worker has done.",
    ),
    Rule(
        r"(\bthat\b.*){3}", "a chain of three 'that': make two sentences", "A that b that c that."
    ),
    Rule(
        r"(;.*){2}",
        "two semicolons are three ideas: make sentences or a list",
        "It waits; it runs; it ends.",
        in_prose=True,
    ),
    Rule(r"(?i)\bunder way\b", "in flight, running", "Steps that are under way."),
    Rule(r"\btold\b|\btells? of\b", "reported, notified, passed", "The run is told of it."),
    Rule(r"\b(stands?|stood)\b(?! for)", "is, is stored, is written", "It stands in one table."),
    Rule(r"\b(lies|lay)\b", "is, is stored", "The file lies in the folder."),
    Rule(r"(?i)\bas ever\b", "as before, as usual", "It runs as ever."),
    Rule(r"\bnought\b", "zero", "It counts nought."),
    Rule(r"(?<![Tt]here )\b(is|are) none\b", "is not a …; there is no …", "It is none."),
    Rule(
        r"(?<![Tt]here )\b(is|are|was|were) no (?!longer\b|more\b|other\b)",
        "is not a …; there is no … is fine",
        "A recovery is no retry.",
    ),
    Rule(
        r"(?i)\b(thereby|thereof|therein|whereby|whereof|wherein|whence|hence|lest|albeit|herein)\b",
        "archaic",
        "It is deleted, lest it stay.",
    ),
    Rule(r"(?i)\bso that not\b", "an inverted negation", "So that not all begin."),
    Rule(r"\bended\b", "completed, failed, cancelled; all three: finished", "The step has ended."),
    Rule(
        r"(?i)\b(go|goes|going|gone|went) on\b",
        "continue; happen",
        "The run goes on with the next step.",
    ),
    Rule(r"(?i)\bin spite of\b", "despite", "Exactly once in spite of crashes."),
    Rule(r"\bbut for\b", "except", "Nothing but for the first."),
    Rule(r"\bfor ever\b", "forever; without a limit", "It waits for ever."),
    Rule(r"\bdear(er|est)?\b", "expensive", "The dearest step."),
    Rule(r"\blook(s|ed)? on\b", "watch, read; a reader, a client", "Those that look on."),
    Rule(
        r"\b[Ss]o (do|does|is|are) (?!not\b)",
        "an inverted sentence: also",
        "The worker stops, and so does the step.",
        in_prose=True,
    ),
    Rule(r"\bslips?\b", "mistake", "That is a slip."),
    Rule(r"\bfaces?\b", "interface: Python, the command line, HTTP, Flower", "Through each face."),
    Rule(r"\b(rooms?|floors?)\b(?! for\b)", "package, layer; capacity", "When there is room."),
    Rule(
        r"\bof (its|their|your|his) own\b", "its own …: put it before the noun", "A row of its own."
    ),
    Rule(r"\btaken? for\b", "treated as", "It is taken for a failure."),
    Rule(r"\bmay not\b", "two meanings: must not, cannot, might not", "A step may not begin."),
    Rule(r"(?i)\b(once more|anew)\b", "again", "It is read anew."),
    Rule(r"\bcomes? to (its|their|an) end\b", "ends", "It comes to its end."),
)


def _findings(page: Path) -> Iterator[str]:
    """Yield each place that breaks a rule: its line, the reason and the sentence."""
    found = list(sentences(page.read_text(encoding="utf-8")))
    for sentence in found:
        where = f"{page.relative_to(ROOT)}:{sentence.line}"
        for rule in RULES:
            if rule.finds(sentence):
                yield f"{where}: {rule.why}: {sentence.text}"
        if sentence.words > LONGEST:
            yield f"{where}: {sentence.words} words, at most {LONGEST}: {sentence.text}"
    lengths = [sentence.words for sentence in found if sentence.is_measured]
    if len(lengths) >= ENOUGH and sum(lengths) > AVERAGE * len(lengths):
        mean = sum(lengths) / len(lengths)
        yield f"{page.relative_to(ROOT)}: {mean:.1f} words a sentence, at most {AVERAGE} on average"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_page_is_plain_english(name: str) -> None:
    found = list(_findings(PAGES[name]))

    assert [] == found, "\n".join(found)


def _docstrings() -> Iterator[tuple[str, str]]:
    """Yield the docstrings of the public names and of the public methods of their classes."""
    for package in PACKAGES:
        module = import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            for kind in inspect.getmro(value) if inspect.isclass(value) else ():
                if kind.__module__.startswith("flowq."):
                    yield f"{kind.__module__}.{kind.__qualname__}", kind.__doc__ or ""
                    for part in vars(kind):
                        yield f"{kind.__qualname__}.{part}", getattr(kind, part).__doc__ or ""
            if inspect.isroutine(value):
                yield f"{value.__module__}.{name}", value.__doc__ or ""


def test_public_docstrings_are_plain_english() -> None:
    """They are the Python reference. Their sections are notes, so only words are looked for."""
    found = [
        f"{name}: {rule.why}: {sentence.text}"
        for name, text in dict(_docstrings()).items()
        if not name.rpartition(".")[2].startswith("_")
        for sentence in sentences(re.sub(r"(?m)^ +(\w+: )", r"- \1", inspect.cleandoc(text)))
        for rule in RULES
        if rule.finds(replace(sentence, is_measured=False))
    ]

    assert [] == found, "\n".join(found)


def _help_texts(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """Yield the help of a command, of its options and of the commands below it."""
    yield name, (command.help or "").replace("\b", "")
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            yield f"{name} {option.opts[0]}", option.help or ""
    if isinstance(command, click.Group):
        for each in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), each)
            assert below is not None
            yield from _help_texts(below, f"{name} {each}")


def test_help_of_every_command_and_option_is_plain_english() -> None:
    texts = dict(_help_texts(main, "flowq"))
    found = [
        f"{name}: {rule.why}: {sentence.text}"
        for name, text in texts.items()
        for sentence in sentences(text)
        for rule in RULES
        if rule.finds(sentence)
    ]

    assert [] == [name for name, text in texts.items() if not text], "without a text"
    assert [] == found, "\n".join(found)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.pattern)
def test_each_rule_finds_its_example(rule: Rule) -> None:
    assert [rule.why] == [each.why for each in [rule] if each.finds(Sentence(1, rule.example))]


@pytest.mark.parametrize(
    "text",
    [
        "What is a batch?",
        "What you can rely on:",
        "There is no retry.",
        "It is no longer needed.",
        "`…` stands for any text.",
        "It says what failed.",
        "There is room for one more.",
        "That is all that is needed.",
    ],
)
def test_plain_sentences_pass(text: str) -> None:
    assert [] == [rule.why for rule in RULES if rule.finds(Sentence(1, text))]
