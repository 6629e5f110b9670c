"""The model calls of a run, by both sides: the server that answered, and the records.

A worker that dies between an answer and its record has cost money that nobody has noted. Then there
is a row of its call, without an end; and since each request has the id of its row, the two sides
can still be held against each other, call by call.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

from flowq.core.ids import RunId
from flowq.core.usage import OPEN_REQUESTS, RequestStatus, Tokens
from flowq.engine.model.model_calls import RequestView
from flowq.entrypoints.fake_llm import FakeLlm
from tests.tools.cluster import Cluster

_PRICE = {"input": 1000, "output": 2000}
#: What a worker needs to ask a server of the test's own.
PRICES = f'{{"openai:fake": {{"input": {_PRICE["input"]}, "output": {_PRICE["output"]}}}}}'


@contextmanager
def model_server(latency: float) -> Iterator[tuple[FakeLlm, dict[str, str]]]:
    """Run a server that answers after so many seconds; gives it, and how workers find it."""
    with FakeLlm(latency=latency) as server:
        yield (
            server,
            {
                "FLOWQ_MODEL": "openai:fake",
                "FLOWQ_OPENAI_BASE_URL": server.url,
                "FLOWQ_PRICES": PRICES,
            },
        )


@dataclass(frozen=True)
class Bill:
    """The calls of one run.

    Attributes:
        calls: That have reached the server.
        answered: Those that it has answered, for money.
        recorded: Those that flowq knows the end of.
        lost: Rows of calls whose worker died before their end was recorded.
        unnoted: Those of them that were answered all the same.
    """

    calls: int
    answered: dict[str, Tokens]
    recorded: dict[str, RequestView]
    lost: frozenset[str]

    @property
    def unnoted(self) -> frozenset[str]:
        return self.lost & self.answered.keys()

    @property
    def price_of_answered(self) -> Decimal:
        """What the server wants for what it has answered."""
        return sum((price(tokens) for tokens in self.answered.values()), Decimal(0))

    @property
    def price_of_unnoted(self) -> Decimal:
        """Which part of that flowq does not know of."""
        return sum((price(self.answered[one]) for one in self.unnoted), Decimal(0))

    @property
    def cost(self) -> Decimal:
        """What flowq has recorded."""
        return sum((one.cost or Decimal(0) for one in self.recorded.values()), Decimal(0))

    def check(self) -> None:
        """Hold both sides against each other: nothing is paid twice, or recorded but not paid."""
        assert self.answered.keys() == self.recorded.keys() | self.unnoted
        assert {name: self.answered[name] for name in self.recorded} == {
            name: one.tokens for name, one in self.recorded.items()
        }
        assert self.price_of_answered == self.cost + self.price_of_unnoted

    def __str__(self) -> str:
        asked = sum(tokens.total for tokens in self.answered.values())
        noted = sum(one.tokens.total for one in self.recorded.values())
        took = sorted(one.latency_ms or 0 for one in self.recorded.values())
        return (
            f"server: {self.calls} calls, {len(self.answered)} answered, {asked} tokens, "
            f"USD {self.price_of_answered}; recorded: {len(self.recorded)} answers, "
            f"{noted} tokens, USD {self.cost}; lost: {len(self.lost)} calls, "
            f"{len(self.unnoted)} of them answered, USD {self.price_of_unnoted}; "
            f"a call took {took[len(took) // 2]} ms, the slowest {took[-1]} ms"
        )


def price(tokens: Tokens) -> Decimal:
    """Return what a call costs here, in USD."""
    return Decimal(_PRICE["input"] * tokens.input + _PRICE["output"] * tokens.output) / 10**6


def bill(server: FakeLlm, cluster: Cluster, run_id: RunId) -> Bill:
    """Return what a run has asked; it is the only one since the server began to count."""
    made = cluster.records.autocommit(lambda tx: tx.llm_requests.of_run(run_id))
    return Bill(
        server.stats.calls,
        {name: Tokens(*used) for name, used in server.stats.bill.items()},
        {str(one.id): one for one in made if one.status is RequestStatus.COMPLETED},
        frozenset(str(one.id) for one in made if one.status in OPEN_REQUESTS),
    )
