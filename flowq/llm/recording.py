"""Records each call of a model as a row: inserted before the call, completed after it.

`Spending` sums the calls of one execution of a step. It is in a ContextVar, because the agent of a
structured step calls its model itself, once for each correction. The agent gets a `RecordedModel`,
which records each of these calls.

Prompts and answers are kept as text for people. It is bounded, since a prompt may hold a book; a
file is named by its type and size. Prompts that are made of secrets are never kept: their callers
give none (see `flowq.llm.text.chat`).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from flowq.core.errors import FlowqError
from flowq.core.usage import CostStatus, RequestStatus, Tokens, Usage, reported
from flowq.engine.runtime.model_calls import ModelCall, ModelCalls
from flowq.llm.caller import current_settings
from flowq.llm.failures import failure, is_foreign
from flowq.llm.prices import cost_of

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse


#: Characters of a prompt, and of an answer, that are kept.
MAX_KEPT: Final = 32_768


@dataclass
class Spending:
    """The calls of one execution of a step.

    Attributes:
        cost: USD; None once the cost of a call is unknown.
    """

    calls: ModelCalls
    provider: str = ""
    model: str = ""
    count: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    cost: Decimal | None = Decimal(0)
    last: UUID | None = None

    def add(self, call: ModelCall, tokens: Tokens, cost: Decimal | None) -> None:
        """Add a call that was answered."""
        self.count += 1
        self.last = call.id
        self.tokens += tokens
        self.cost = None if self.cost is None or cost is None else self.cost + cost


_spending: ContextVar[Spending] = ContextVar("flowq_spending")
#: The row of the running call; the request has its id.
_current_call: ContextVar[UUID | None] = ContextVar("flowq_model_call", default=None)


@contextmanager
def spending(calls: ModelCalls) -> Iterator[Spending]:
    """Sum the calls that are made in the block."""
    spent = Spending(calls)
    token = _spending.set(spent)
    try:
        yield spent
    finally:
        _spending.reset(token)


@dataclass
class OpenCall:
    """A call that is running."""

    recorded: ModelCall
    used: Any = None  #: The usage as the library returns it, once the model has answered.
    says_something: bool = True  #: Whether the answer has content.
    object_key: str | None = None  #: The key of the object that it has made.
    prompt: Callable[[], str] | None = None  #: Returns the prompt, if it may be kept.
    answer: str | None = None  #: What the model has said, if that may be kept.

    def answered(self, answer: "ModelResponse") -> None:
        """Take the usage of an answer, its text, and whether it has content."""
        if self.prompt is not None and current_settings().keep_prompts:
            self.answer = answer_text(answer)
        self.used = answer.usage
        self.says_something = any(part.has_content() for part in answer.parts)


def call_id() -> UUID | None:
    """Return the id of the call of a model that is running here; its row has the same id."""
    return _current_call.get()


@asynccontextmanager
async def calling(
    provider: str,
    model: str,
    bound: Callable[[], Usage | None] | None = None,
    prompt: Callable[[], str] | None = None,
) -> AsyncIterator[OpenCall]:
    """Record the call that is made in the block; the block sets its usage.

    Args:
        bound: Computes what the call uses at most, for budgets.
        prompt: Returns the prompt, to be kept with the call; None if it may hold a secret.

    Raises:
        FlowqError: a guard or a budget refuses the call, or it has failed.
    """
    spent = _spending.get()
    spent.provider, spent.model = provider, model
    nested = call_id() is not None
    admitted = await spent.calls.admit(provider, model, bound, nested=nested)
    recorded = spent.calls.start(admitted, provider, model)
    call = OpenCall(recorded, prompt=prompt)
    outer = _current_call.set(recorded.id)
    try:
        await recorded.recorded
        yield call
    except Exception as error:
        known, cost_status = _failure(error, provider, model)
        await _end(call, spent, RequestStatus.FAILED, cost_status, known)
        if known is error:
            raise
        raise known from error
    except BaseException:
        # A cancel, or the end of the process: recorded without waiting for the commit.
        recorded.end(RequestStatus.CANCELLED)
        raise
    finally:
        _current_call.reset(outer)
    await _end(call, spent, RequestStatus.COMPLETED)


def _failure(error: Exception, provider: str, model: str) -> tuple[Exception, CostStatus]:
    """Return the error of flowq for a failed call; other errors are returned unchanged."""
    if isinstance(error, FlowqError) or not is_foreign(error):
        return error, CostStatus.UNKNOWN
    return failure(error, provider, model)


async def _end(
    call: OpenCall,
    spent: Spending,
    status: RequestStatus,
    cost_status: CostStatus = CostStatus.UNKNOWN,
    error: Exception | None = None,
) -> None:
    """Record the end of a call with its usage and cost."""
    tokens = Tokens()
    cost, price = Decimal(0) if cost_status is CostStatus.UNBILLED else None, None
    if call.used is not None:  # also when something failed after the answer: the call is billed
        used = call.used
        report = reported(
            used.input_tokens,
            used.output_tokens,
            used.cache_read_tokens,
            says_something=call.says_something,
        )
        tokens, prices = report.tokens, current_settings().prices
        cost, cost_status, price = cost_of(spent.provider, spent.model, report, used, prices=prices)
    spent.add(call.recorded, tokens, cost)
    await call.recorded.end(
        status,
        tokens=tokens,
        cost=cost,
        cost_status=cost_status,
        error=None if error is None else getattr(error, "message", None) or repr(error),
        object_key=call.object_key,
        prompt=call.prompt()
        if call.prompt is not None and current_settings().keep_prompts
        else None,
        answer=call.answer,
        price=price,
    )
    await spent.calls.settle()


async def recorded(
    provider: str,
    model: str,
    ask: Callable[[], "Awaitable[ModelResponse]"],
    bound: Callable[[], Usage | None] | None = None,
    prompt: Callable[[], str] | None = None,
) -> "ModelResponse":
    """Make a call and record it; raises as `calling`."""
    async with calling(provider, model, bound, prompt) as call:
        answer = await ask()
        call.answered(answer)
    return answer


# --- text for people -----------------------------------------------------------------------------


def prompt_text(messages: "Sequence[ModelMessage]") -> str:
    """Return the messages to a model; the last of them whole, if they are too long for all."""
    lines = [line for message in messages for line in _of_message(message)]
    text = "\n\n".join(lines)
    left_out = len(text) - MAX_KEPT
    return text if left_out <= 0 else f"({left_out:,} characters before)\n{text[-MAX_KEPT:]}"


def answer_text(answer: "ModelResponse") -> str:
    """Return the answer of a model."""
    text = "\n\n".join(filter(None, (_of_part(part) for part in answer.parts)))
    left_out = len(text) - MAX_KEPT
    return text if left_out <= 0 else f"{text[:MAX_KEPT]}\n({left_out:,} more characters)"


def _of_message(message: Any) -> Iterator[str]:
    instructions = getattr(message, "instructions", None)
    if instructions:
        yield f"[instructions]\n{instructions}"
    for part in message.parts:
        text = _of_part(part)
        if text:
            yield f"[{part.part_kind.removesuffix('-prompt')}]\n{text}"


def _of_part(part: Any) -> str:
    if part.part_kind in {"tool-call", "builtin-tool-call"}:
        return f"{part.tool_name}({part.args_as_json_str()})"
    content = getattr(part, "content", None)
    if isinstance(content, str):
        return content
    pieces = content if isinstance(content, list | tuple) else [content]
    return "\n".join(_of_piece(piece) for piece in pieces if piece is not None)


def _of_piece(piece: Any) -> str:
    if isinstance(piece, str):
        return piece
    data = getattr(piece, "data", None)
    if isinstance(data, bytes):
        return f"({getattr(piece, 'media_type', 'file')}, {len(data):,} bytes)"
    return str(getattr(piece, "url", None) or piece)
