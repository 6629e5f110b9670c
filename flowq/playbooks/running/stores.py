"""What `ControlFlowEngine` needs, outside of the process: states in Redis, stored documents.

    engine = ControlFlowEngine(StoredPlaybooks(bootstrap.engine()), RedisStateStore(client))

Several processes may handle events of one execution: a state is saved only if it is still the one
that was read.
"""

from datetime import timedelta
from typing import Any, Final

from redis import Redis
from typing_extensions import override

from flowq.engine.engine import Engine
from flowq.engine.model.documents import DocumentKind, NewDocument
from flowq.engine.ports import Transaction
from flowq.playbooks.control.facade import PlaybookRepo, StateStore, conflict
from flowq.playbooks.control.state import ExecutionState
from flowq.playbooks.control.stored_state import decoded, encoded
from flowq.playbooks.document.models import Playbook

#: Sets a state if its version is the expected one; returns whether it was.
_SAVE: Final = """
local known = redis.call('HGET', KEYS[1], 'version') or '0'
if known ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'state', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""


class RedisStateStore(StateStore):
    """The states of executions in Redis, saved by compare-and-set.

    Args:
        client: Of redis-py; as `flowq.bootstrap.redis_client()` makes one.
        prefix: What the keys begin with.
        expires_after: A state that is not saved for so long is forgotten.
    """

    def __init__(
        self,
        client: Redis,
        *,
        prefix: str = "flowq:playbook-state:",
        expires_after: timedelta = timedelta(days=30),
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._milliseconds = int(expires_after / timedelta(milliseconds=1))
        self._save = client.register_script(_SAVE)

    @override
    def get(self, execution_id: str) -> ExecutionState | None:
        found: Any = self._client.hget(self._prefix + execution_id, "state")
        return None if found is None else decoded(found)

    @override
    def save(self, state: ExecutionState) -> None:
        before, state.version = state.version, state.version + 1
        is_saved = False
        try:
            given = (before, state.version, encoded(state), self._milliseconds)
            is_saved = bool(self._save(keys=[self._prefix + state.execution_id], args=given))
        finally:
            if not is_saved:
                state.version = before
        if not is_saved:
            raise conflict(state.execution_id)

    @override
    def delete(self, execution_id: str) -> None:
        self._client.delete(self._prefix + execution_id)


class StoredPlaybooks(PlaybookRepo):
    """The documents of executions in the database, as versions of their paths.

    Args:
        engine: Where they are stored.
        owner: Whose new paths are, and who is asked for; None is the operator, who sees all.
    """

    def __init__(self, engine: Engine, owner: str | None = None) -> None:
        self._engine = engine
        self._owner = owner

    @override
    def register(self, playbook: Playbook, execution_id: str) -> None:
        """Store a document, if it is not there yet, and bind it to an execution.

        Raises:
            InvalidInput: the path is somebody else's, or the execution has another document.
        """
        new = NewDocument(
            self._engine.new_id(),
            DocumentKind.PLAYBOOK,
            playbook.metadata.path,
            playbook.to_yaml(),
            playbook.to_dict(),
            owner_id=self._owner,
        )

        def store(tx: Transaction) -> None:
            tx.documents.bind(execution_id, tx.documents.register(new, seen_by=self._owner))

        self._engine.records.transaction(store)

    @override
    def get_by_execution(self, execution_id: str) -> Playbook | None:
        found = self._engine.records.autocommit(
            lambda tx: tx.documents.bound(DocumentKind.PLAYBOOK, execution_id, seen_by=self._owner)
        )
        return None if found is None else Playbook.of(found.content)
