"""Compiles Celery signatures to a plan, and refuses by name what a plan cannot express.

Signatures are read as Celery prepares them for sending: chains in chains, groups in groups and
groups of one task in a chain are unrolled, a group that another step follows becomes a chord.
Options go down as Celery merges them: those of a group to all its tasks, those of a chain to its
first step, those of a chord to header and body; callbacks to the steps that call them.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from celery import Celery
from celery.canvas import Signature, _chain, chord, chunks, group

from flowq.canvas import options as reading
from flowq.canvas.options import CALLBACKS, Callbacks, merged
from flowq.canvas.plan import (
    ChainPlan,
    ChordPlan,
    GroupPlan,
    Plan,
    TaskPlan,
    ends_in_group,
    with_args,
)
from flowq.canvas.values import encoded
from flowq.core.errors import InvalidFlow

_MAPS: Final = {"celery.map": "map", "celery.starmap": "starmap"}
#: Tasks of Celery itself that a step can run; the last one is in what `self.replace` makes.
_OF_CELERY: Final = {*_MAPS, "celery.accumulate"}
_CHUNKS: Final = "celery.chunks"
_STARTS: Final = frozenset({"countdown", "eta"})
_GIVE: Final = "give task.s(…), chain(…), group(…) or chord(…)"


def compile_canvas(signature: Any, app: Celery, args: Iterable[Any] = ()) -> Plan:
    """Return the plan of a signature, or of its dict form.

    Args:
        signature: The signature.
        app: The app that has its tasks.
        args: Arguments before those of its first tasks, as of `signature.delay(*args)`.

    Raises:
        InvalidFlow: it has something that a plan cannot express, or an unknown task.
        NotSerializable: an argument has no JSON form.
    """
    if not isinstance(signature, Mapping):
        kind = type(signature).__name__
        raise InvalidFlow(f"{signature!r} ({kind}) is no signature of Celery", hint=_GIVE)
    plan = _Compiler(app).node(signature, {}, Callbacks())
    if plan is None:
        raise InvalidFlow("the canvas is empty", hint="give it at least one task")
    plan = with_args(plan, tuple(encoded(list(args), "an argument of the canvas")))
    if isinstance(plan, GroupPlan) and len(plan.tasks) == 1 and ends_in_group(plan.tasks[0]):
        return plan.tasks[0]  # Celery returns the results of the inner group alone
    return plan


class _Compiler:
    def __init__(self, app: Celery) -> None:
        self._app = app

    def node(self, signature: Any, around: Mapping[str, Any], more: Callbacks) -> Plan | None:
        """Return the plan of a signature; None of an empty chain.

        Args:
            signature: The signature, or its dict form.
            around: Options of the signatures around it, which hide its own.
            more: Callbacks of the signatures around it, beside its own.
        """
        one = self._read(signature)
        options = merged(one.options, around)
        callbacks = more.after(Callbacks.of(options))
        if isinstance(one, _chain):
            return self._chain(one, options, callbacks)
        if isinstance(one, chord):
            return self._chord(one, options, callbacks)
        if isinstance(one, group):
            return self._group(one, options, more)
        return self._task(one, options, callbacks)

    def _read(self, signature: Any) -> Any:
        """Return a signature as an object, not to be changed; chunks are the group of them."""
        one = signature
        if not isinstance(one, Signature) or (type(one) is Signature and one.subtask_type):
            try:
                one = Signature.from_dict(dict(signature), app=self._app)
                assert isinstance(one.options, Mapping)
            except (AssertionError, LookupError, TypeError, ValueError) as error:
                raise InvalidFlow(
                    f"{signature!r} is no signature of Celery: {error!r}", hint=_GIVE
                ) from None
        if one.task != _CHUNKS:
            return one
        # A copy of chunks is a plain signature of the task that makes the group.
        made: Any = chunks.from_dict(one, app=self._app)
        return made.group()

    # --- groups and chords -----------------------------------------------------------------------

    def _group(self, one: Any, options: Mapping[str, Any], more: Callbacks) -> GroupPlan:
        own = sorted(CALLBACKS & options.keys())
        if own or more.link:
            raise InvalidFlow(
                f"{one!r} is a group with {own[0] if own else 'link'}, which Celery refuses, too",
                hint="put it on each task, or on the body of a chord",
            )
        return GroupPlan(tasks=tuple(self._members(one, options, more)))

    def _members(self, one: Any, options: Mapping[str, Any], more: Callbacks) -> Iterator[Plan]:
        """Yield the plans of the tasks of a group; groups in it are a part of it."""
        for task in one.tasks:
            member = self._read(task)
            if isinstance(member, group):
                yield from self._members(member, options, more)
                continue
            plan = self.node(member, options, more)
            if plan is not None:
                yield plan

    def _chord(self, one: Any, options: Mapping[str, Any], callbacks: Callbacks) -> Plan:
        if one.body is None:
            raise InvalidFlow(f"{one!r} is a chord without a body", hint="give it one, or a group")
        of_header = {name: options[name] for name in options.keys() - CALLBACKS}
        of_body = {name: of_header[name] for name in of_header.keys() - _STARTS}
        tasks = one.tasks if isinstance(one.tasks, group) else group(one.tasks, app=self._app)
        header = tuple(self._members(tasks, of_header, Callbacks()))
        if one.args:
            given = self._values(one.args, "a chord")
            header = tuple(with_args(plan, given) for plan in header)
        body = self.node(one.body, of_body, callbacks)
        if body is None:
            raise InvalidFlow(f"the body of {one!r} is empty", hint="give it a task")
        return _in_line([ChordPlan(header=header, body=body, immutable=bool(one.immutable))])

    # --- chains ----------------------------------------------------------------------------------

    def _chain(self, one: Any, options: Mapping[str, Any], callbacks: Callbacks) -> Plan | None:
        steps = self._steps(one)
        of_first = {name: options[name] for name in options.keys() - CALLBACKS}
        plans: list[Plan] = []
        for place, (step, more) in enumerate(steps):
            is_last = place == len(steps) - 1
            # A group before another step is the header of a chord, whose body has the callbacks.
            is_header = isinstance(step, group) and not is_last
            given = Callbacks(
                callbacks.link if is_last else (), () if is_header else callbacks.link_error
            )
            around = of_first if place == 0 else {}
            plan = self.node(step, around, given.after(Callbacks() if is_header else more))
            assert plan is not None  # there are no chains in it
            plans.append(plan)
        if not plans:
            return None
        if one.args:
            plans[0] = with_args(plans[0], self._values(one.args, "a chain"))
        return _in_line(_with_chords(plans), immutable=bool(one.immutable))

    def _steps(self, one: Any) -> list[tuple[Any, Callbacks]]:
        """Return the steps of a chain; chains in it are a part of it, as is a group's only task.

        Returns:
            Each step, with the callbacks of inner chains that are its own.
        """
        steps: list[tuple[Any, Callbacks]] = []
        for task in one.tasks:
            step = self._read(task)
            if isinstance(step, group) and len(step.tasks) == 1:
                step = self._read(step.tasks[0])
            if not isinstance(step, _chain):
                steps.append((step, Callbacks()))
                continue
            inner, callbacks = self._steps(step), Callbacks.of(step.options)
            for place, (each, more) in enumerate(inner):
                link = callbacks.link if place == len(inner) - 1 else ()
                steps.append((each, Callbacks(link, callbacks.link_error).after(more)))
        filled = [one for one in steps if not isinstance(one[0], group) or one[0].tasks]
        return filled or steps[:1]

    # --- tasks -----------------------------------------------------------------------------------

    def _task(self, one: Any, options: Mapping[str, Any], callbacks: Callbacks) -> TaskPlan:
        name, kwargs = one.task, dict(one.kwargs)
        self._refuse_unknown(name)
        shown = label = name
        if name in _MAPS:
            shown = self._read(kwargs["task"]).task
            self._refuse_unknown(shown)
            label, kwargs["it"] = f"{shown}.{_MAPS[name]}", list(kwargs["it"])
        options = reading.with_own_of_task(self._app.tasks[name], options)
        reading.refuse_unknown(name, options)
        expires_in, expires_at = reading.expiry(name, options, self._app)
        countdown = reading.seconds("countdown", name, options)
        eta = reading.moment("eta", name, options, self._app)
        return TaskPlan(
            name=name,
            args=self._values(one.args, name),
            kwargs=encoded(kwargs, f"an argument of {name}"),
            immutable=bool(one.immutable),
            label=label,
            shadow=options.get("shadow") or shown,
            countdown=countdown,
            eta=eta if countdown is None else None,
            expires_in=expires_in,
            expires_at=expires_at,
            queue=reading.queue(name, options, self._app),
            timeout=reading.timeout(options),
            retries=int(options.get("retries") or 0),
            headers=encoded(options.get("headers") or {}, f"a header of {name}"),
            stamps=encoded(reading.stamps(options), f"a stamp of {name}"),
            link=tuple(self._plans(callbacks.link)),
            link_error=tuple(self._plans(callbacks.link_error)),
        )

    def _refuse_unknown(self, name: Any) -> None:
        if name not in self._app.tasks:
            raise InvalidFlow(
                f"the app {self._app.main!r} has no task {name!r}",
                hint="import the module that defines it, and put flowq on its app: "
                "flowq.install(app)",
            )
        if name.startswith("celery.") and name not in _OF_CELERY:
            raise InvalidFlow(
                f"{name} cannot be a task of a durable canvas",
                hint="give chain, group, chord, map, starmap, chunks and tasks of your own",
            )

    def _values(self, args: Iterable[Any], name: str) -> tuple[Any, ...]:
        return tuple(encoded(list(args), f"an argument of {name}"))

    def _plans(self, callbacks: Iterable[Any]) -> Iterator[Plan]:
        for callback in callbacks:
            plan = self.node(callback, {}, Callbacks())
            if plan is not None:
                yield plan


def _with_chords(plans: list[Plan]) -> list[Plan]:
    """Return the steps of a chain in which a group before another step is a chord with that."""
    made: list[Plan] = []
    for plan in reversed(plans):
        if isinstance(plan, GroupPlan) and made:
            made[-1] = ChordPlan(header=plan.tasks, body=made[-1])
        else:
            made.append(plan)
    return made[::-1]


def _in_line(plans: list[Plan], *, immutable: bool = False) -> Plan:
    """Return steps as one plan: what follows the first step of a chord's body follows the chord.

    So a long chain of chords, which Celery nests in their bodies, is not nested in its plan.
    """
    steps: list[Plan] = []
    for plan in plans:
        body = plan.body if isinstance(plan, ChordPlan) else None
        if isinstance(body, ChainPlan) and not body.immutable:
            first, *rest = body.steps
            steps += [plan.model_copy(update={"body": first}), *rest]
        elif isinstance(plan, ChainPlan) and not plan.immutable:
            steps += plan.steps
        else:
            steps.append(plan)
    if len(steps) == 1 and not immutable:
        return steps[0]
    return ChainPlan(steps=tuple(steps), immutable=immutable)
