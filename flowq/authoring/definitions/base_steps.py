"""`BaseStep`: a step as a class, the base of the four kinds in `llm_steps`.

A class with a `step_name` is a step type of that name: a Celery task, a node of `def` flows, an
awaited call in programs, and outside flows a coroutine. All of these use the same `Step` as
functions with `@step`; the class adds `Inputs` and the prompt, checked when it is defined.

    class Summarise(UnstructuredStep):
        step_name = "summarise"
        prompt_file = "summarise.txt"

        class Inputs(BaseModel):
            text: str

    await Summarise().execute({"text": …})        in a program, or alone
    Summarise()(text=page.text)                   the same; in a `def` flow a node and its Ref
    Summarise(model="openai:gpt-5").map(pages)    with options, for each item
"""

import inspect
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from inspect import Parameter
from pathlib import Path
from typing import Any, ClassVar, Final, cast

from pydantic import BaseModel, ValidationError

from flowq.authoring.calls.options import Duration, ErrorType, Options, changed, retry_policy
from flowq.authoring.calls.refs import Condition, Ref
from flowq.authoring.calls.tracing import caller
from flowq.authoring.definitions.caching import CacheOption, cache_of
from flowq.authoring.definitions.limiting import (
    ConcurrencyOption,
    RateOption,
    concurrency_of,
    rates_of,
)
from flowq.authoring.definitions.middleware import middleware_of
from flowq.authoring.definitions.steps import Step
from flowq.authoring.naming import module_name
from flowq.core.errors import IncompleteStep, InvalidFlow, InvalidInput
from flowq.core.retries import RetryPolicy
from flowq.core.usage import CostStatus
from flowq.engine.registry.registry import RegisteredStep as Registered
from flowq.engine.registry.registry import registry
from flowq.engine.results.codecs import adapter_for, coerce, problems
from flowq.engine.runtime.middleware import Middleware
from flowq.llm.caller import current_caller
from flowq.llm.prompts import Prompt, folder_of
from flowq.llm.recording import Spending, spending
from flowq.llm.results import StepMetadata, StepResult, StepType
from flowq.settings import Settings

#: The parameter that passes a call's own model and settings to the worker.
CALL_OPTIONS: Final = "call_options"

#: The attributes that a whole policy, `retry`, replaces.
_PARTS_OF_RETRY: Final = ("retries", "retry_delay", "backoff", "retry_on")
#: Errors after which a step class is retried by default.
_RETRIED: Final = ("ModelUnavailable", "StepTimeout", "ConnectionError", "TimeoutError")


class BaseStep:
    """A step that is a class; subclasses of its four kinds have a `step_name` and `Inputs`.

    Attributes:
        step_name: Unique name, also of its Celery task. A class without one is a base class.
        step_type: Its kind.
        prompt_file: A template in the folder `prompts` beside the module.
        prompts_folder: Another folder, relative to the module's own.
        model: The model that it calls; None: that of the setting.
        model_settings: Temperature and others, by pydantic-ai's names.
        retries: Attempts after the first, when the model is unavailable.
        retry: A whole policy instead, as for `@step`.
        retry_delay: Before the second attempt, as a timedelta or in seconds.
        backoff: How many times longer each further delay is.
        retry_on: Exceptions after which it is retried.
        timeout: For one attempt.
        queue: Celery queue.
        cache: The cache, as for `@step`; the model and the prompt count as inputs.
        concurrency: How many may run at once, as for `@step`.
        rate: How many may begin, or how many tokens they may use, within a time, as for `@step`. A
            key may contain the `{model}`.
        allow_failure: The run continues when it fails.
        middleware: Code around each attempt, as for `@step`.
        log_prints: Printed lines are kept as logged ones are.
    """

    step_name: ClassVar[str] = ""
    step_type: ClassVar[StepType]
    prompt_file: ClassVar[str | None] = None
    prompts_folder: ClassVar[str | Path | None] = None
    model: ClassVar[Any] = None
    model_settings: ClassVar[Mapping[str, Any]] = {}
    retries: ClassVar[int] = 3
    retry: ClassVar[RetryPolicy | None] = None
    retry_delay: ClassVar[Duration] = 2
    backoff: ClassVar[float] = 2
    retry_on: ClassVar[ErrorType | Iterable[ErrorType]] = _RETRIED
    timeout: ClassVar[Duration | None] = None
    queue: ClassVar[str | None] = None
    cache: ClassVar[CacheOption] = None
    concurrency: ClassVar[ConcurrencyOption] = None
    rate: ClassVar[RateOption] = None
    allow_failure: ClassVar[bool] = False
    middleware: ClassVar[Iterable[Middleware]] = ()
    log_prints: ClassVar[bool] = False

    Inputs: ClassVar[type[BaseModel]]

    _step: ClassVar[Step[..., Any]]
    _prompt: ClassVar[Prompt | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check and register a step.

        Raises:
            IncompleteStep: it lacks `Inputs`, or something else that its kind needs.
            PromptNotFound: there is no such prompt file.
            InvalidPrompt: the prompt is no template, or uses a variable that `Inputs` lacks.
            InvalidFlow: another step has its name, or an option is invalid.
        """
        super().__init_subclass__(**kwargs)
        if "step_name" not in cls.__dict__ and cls.step_name:
            raise InvalidFlow(
                f"step class {cls.__qualname__} has the step_name of its base, {cls.step_name!r} "
                f"({caller()})",
                hint='give the class its own step_name, or step_name = "" for a base class',
            )
        if not cls.step_name:
            return
        cls._complete()
        cached, key = cache_of(cls.cache)
        by = None if cached is None else partial(_cache_subject, cls, key)
        model = partial(_model_of, cls)
        registered = Registered(
            cls.step_name,
            _function(cls),
            by,
            model,
            owner=cls,
            models=(cls.Inputs,),
            middleware=middleware_of(cls.middleware, f"step class {cls.__qualname__}"),
        )
        options = changed(
            _options(cls),
            cache=cached,
            concurrency=concurrency_of(cls.concurrency, cls.step_name, registered.key_names),
            rate=rates_of(cls.rate, cls.step_name, registered.key_names),
        )
        registry.add_step(registered)
        cls._step = Step(registered, options)

    @classmethod
    def _complete(cls) -> None:
        """Check that a class has what its kind needs, and read its prompt."""
        inputs = getattr(cls, "Inputs", None)
        if not (isinstance(inputs, type) and issubclass(inputs, BaseModel)):
            raise IncompleteStep(
                f"step {cls.step_name!r} must define an Inputs class",
                hint=f"class {cls.__name__}: class Inputs(BaseModel): …",
            )
        try:
            inspect.signature(cls).bind()
        except TypeError as error:
            raise InvalidFlow(
                f"step {cls.step_name!r} cannot be created by a worker: {error} ({caller()})",
                hint="pass what __init__ needs as class attributes or as inputs",
            ) from None
        if CALL_OPTIONS in inputs.model_fields:
            raise InvalidFlow(
                f"step {cls.step_name!r} has an input {CALL_OPTIONS!r}, which is taken",
                hint="give it another name",
            )
        if cls.prompt_file is not None:
            setting = Settings().prompts
            folder = folder_of(cls.__module__, cls.prompts_folder, setting)
            where = f"step {cls.step_name!r}"
            cls._prompt = Prompt(cls.prompt_file, folder, list(inputs.model_fields), where=where)

    def __init__(
        self, *, model: Any = None, model_settings: Mapping[str, Any] | None = None
    ) -> None:
        """Make a callable step.

        Args:
            model: A model instead of the class's; in a flow its name.
            model_settings: More settings of the model.

        Raises:
            IncompleteStep: the class has no `step_name`.
        """
        step = vars(type(self)).get("_step")
        if step is None:
            raise IncompleteStep(
                f"{type(self).__name__} has no step_name, so it is not a step",
                hint='give the class a step_name = "…"',
            )
        self._model = model
        self._model_settings = dict(model_settings or {})
        self._called: Step[..., Any] = step

    def execute(self, inputs: Mapping[str, Any]) -> Coroutine[Any, Any, StepResult[Any]]:
        """Run the step; in a flow, call it as a step of the flow.

        Args:
            inputs: By the names of `Inputs`.

        Returns:
            An awaitable of a `StepResult`; while a `def` flow is traced, a Ref to it.

        Raises:
            InvalidInput: the inputs do not validate.
            InvalidFlow: in a flow, their names are not those of `Inputs`.
        """
        return cast(Coroutine[Any, Any, StepResult[Any]], self(**inputs))

    def __call__(self, **inputs: Any) -> Any:
        """Run the step with these inputs; as `execute`."""
        self._check(inputs)
        return self._called(**inputs, **self._call_options())

    def map(
        self, items: Iterable[Any], /, *, tolerate: int | str | None = None, **same: Any
    ) -> Any:
        """Run the step once for each item; see `Step.map`."""
        return self._called.map(items, tolerate=tolerate, **same, **self._call_options())

    def options(self, **options: Any) -> "BaseStep":
        """Return a copy with other options, as `Step.options` does."""
        copy = type(self)(model=self._model, model_settings=self._model_settings)
        copy._called = self._called.options(**options)  # noqa: SLF001 - a copy of its own
        return copy

    def _call_options(self) -> dict[str, Any]:
        given = {"model": self._model, "model_settings": self._model_settings or None}
        chosen = {name: value for name, value in given.items() if value is not None}
        return {CALL_OPTIONS: chosen} if chosen else {}

    def _check(self, inputs: Mapping[str, Any]) -> None:
        """Check inputs that are values; those that are Refs are checked on the worker."""
        if _holds_ref(inputs):
            return
        try:
            self.Inputs.model_validate(dict(inputs), by_alias=True, by_name=True)
        except ValidationError as error:
            raise InvalidInput(
                f"step {self.step_name!r} has invalid inputs: {problems(error)}",
                hint=f"its Inputs has: {', '.join(self.Inputs.model_fields) or 'no fields'}",
            ) from error

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.step_name}>"

    # --- on the worker ----------------------------------------------------------------------------

    @classmethod
    def _content_type(cls) -> Any:
        """Return the type of `output_content`."""
        raise NotImplementedError

    async def _run(self, inputs: BaseModel, spent: Spending) -> tuple[Any, dict[str, Any]]:
        """Do the work; return the content, and additional metadata."""
        raise NotImplementedError

    def _prompted(self, inputs: BaseModel) -> str:
        """Return the prompt with the inputs in it."""
        assert self._prompt is not None
        # Attributes, not dumped data: a template may use `{{ page.title }}` of a model.
        return self._prompt.render(
            {name: getattr(inputs, name) for name in self.Inputs.model_fields}
        )


def _holds_ref(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_ref(one) for one in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_ref(one) for one in value)
    return isinstance(value, Ref | Condition)


def _function(cls: type[BaseStep]) -> Any:
    """Return the coroutine function that runs a step, with the parameters of its Inputs."""
    fields = cls.Inputs.model_fields
    generic: Any = StepResult
    returns = generic[cls._content_type()]

    async def run(**given: Any) -> StepResult[Any]:
        chosen = given.pop(CALL_OPTIONS, None) or {}
        where = f"the input of step {cls.step_name!r}"
        inputs = coerce(given, adapter_for(cls.Inputs), where=where)
        return await _execute(cls(**chosen), inputs, returns)

    parameters = [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if item.is_required() else item.get_default(),
        )
        for name, item in fields.items()
    ]
    parameters.append(Parameter(CALL_OPTIONS, Parameter.KEYWORD_ONLY, default=None))
    run.__name__ = cls.__name__
    run.__qualname__ = cls.__qualname__
    run.__module__ = module_name(cls.__module__)
    run.__doc__ = inspect.getdoc(cls)
    run.__annotations__ = {"return": returns}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__wrapped__ = cls  # type: ignore[attr-defined]  # where it is defined
    return run


async def _execute(step: BaseStep, inputs: BaseModel, returns: Any) -> StepResult[Any]:
    began = time.monotonic()
    context, calls = await current_caller(step.step_name)
    with spending(calls) as spent:
        content, more = await step._run(inputs, spent)  # noqa: SLF001 - this is its runner
    caller = calls.caller
    metadata = StepMetadata(
        tokens_used=spent.tokens.total,
        cost_estimate=None if spent.cost is None else float(spent.cost),
        execution_time_ms=round((time.monotonic() - began) * 1000),
        provider=spent.provider,
        model=spent.model,
        input_tokens=spent.tokens.input,
        output_tokens=spent.tokens.output,
        cached_tokens=spent.tokens.cached,
        cost_status=CostStatus.UNKNOWN if spent.cost is None else CostStatus.KNOWN,
        calls=spent.count,
        step_type=step.step_type,
        prompt_file=step.prompt_file,
        attempt=context.attempt if context else 1,
        retry_attempt=context.attempt - 1 if context else 0,
        run_id=caller.run_id,
        step_run_id=caller.step_id,
        llm_request_id=spent.last if calls.log else None,
        **more,
    )
    result: StepResult[Any] = returns(
        step_name=step.step_name, output_content=content, metadata=metadata
    )
    return result


def _model_of(cls: type[BaseStep], arguments: Mapping[str, Any]) -> str:
    """Return the name of the model of a call."""
    options = arguments.get(CALL_OPTIONS) or {}
    settings = Settings()
    image = cls.step_type is StepType.IMAGE_GENERATION
    model = options.get("model") or cls.model
    return str(model or (settings.image_model if image else settings.model))


def _cache_subject(
    cls: type[BaseStep], own: Callable[..., Any] | None, **arguments: Any
) -> Mapping[str, Any] | None:
    """Return the data of a call's cache key: the arguments, the model and the prompt.

    Args:
        cls: The step.
        own: Its key function, if it has one.
        arguments: The arguments of the call.
    """
    options = arguments.pop(CALL_OPTIONS, None) or {}
    subject = arguments if own is None else own(**arguments)
    if subject is None:
        return None
    return {
        "of": subject,
        "model": _model_of(cls, {CALL_OPTIONS: options}),
        "settings": {**cls.model_settings, **(options.get("model_settings") or {})},
        "prompt": cls._prompt.text if cls._prompt is not None else None,
        "instructions": getattr(cls, "instructions", None),
    }


def _options(cls: type[BaseStep]) -> Options:
    given: dict[str, Any] = {name: getattr(cls, name) for name in _PARTS_OF_RETRY}
    if cls.retry is not None:
        # Attributes of this class beside a whole policy; those of a base class are allowed.
        given = {name: getattr(cls, name) for name in _PARTS_OF_RETRY if name in vars(cls)}
    return changed(
        Options(),
        retry=retry_policy(RetryPolicy(), retry=cls.retry, **given),
        timeout=cls.timeout,
        queue=cls.queue,
        allow_failure=cls.allow_failure,
        log_prints=cls.log_prints,
    )
