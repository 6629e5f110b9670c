"""What is wrong with a template, and what failed when it was rendered."""

from flowq.core.errors import InvalidInput, StepError


class InvalidTemplate(InvalidInput, ValueError):
    """A text is no template, or uses what does not exist here.

    Attributes:
        column: Where, from 1; None when it is not known.
    """

    def __init__(self, message: str, column: int | None = None) -> None:
        self.column = column
        super().__init__(f"{message} at column {column}" if column else message)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.message,)


class TemplateFailed(StepError):
    """A template could not be rendered with these values."""


class TooLarge(Exception):
    """A template makes more than a value of a template may be."""
