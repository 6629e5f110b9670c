"""The inputs of a step as values, for its page; large ones stay references.

A step has templates in its row or in the spec of its run. They are resolved as on a worker, but
only if all results that they need are known and small: a page must not load a gigabyte. Otherwise
the page shows the templates, with the references as text.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowq.core.errors import FlowqError
from flowq.core.ids import RunId
from flowq.core.references import CONCAT, as_reference, references, resolve
from flowq.core.spec import StepKind
from flowq.core.states import TERMINAL_STEP_STATES
from flowq.engine.advance.resolve import lookup
from flowq.engine.engine import Engine
from flowq.engine.queries.step_page import StepPage
from flowq.entrypoints import formatting
from flowq.entrypoints.flower.html import as_json

logger = logging.getLogger(__name__)

#: Bytes of the results that are loaded for a page.
_MAX_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ShownInputs:
    """The inputs of a step.

    Attributes:
        text: They, as JSON for people, not escaped; None if they are not known.
        note: Why references are shown and not values.
    """

    text: str | None
    note: str | None = None


def shown_inputs(engine: Engine, run_id: RunId, step: StepPage, of_run: Any) -> ShownInputs:
    """Return the inputs of a step.

    Args:
        of_run: The inputs of the run, which are those of a program.
    """
    try:
        definition = engine.definitions.get(run_id)
        known = definition.step(step.key)
        listed: dict[str, Any] = {}
        if known.map is not None and step.index is None:
            listed[known.map.parameter] = definition.items(step.key)
    except FlowqError as error:
        return ShownInputs(None, f"The definition of the step cannot be read: {error.message}")
    if known.kind is StepKind.PROGRAM:
        return ShownInputs(as_json(of_run))
    template: dict[str, Any] = {**known.arguments, **listed}
    if step.index is not None and isinstance(step.inputs, Mapping):
        template |= step.inputs
    why = unresolved(engine, run_id, template)
    if why is None:
        try:
            find = lookup(engine, run_id, references(template))
            return ShownInputs(as_json(resolve(template, find)))
        except (FlowqError, ValueError, ImportError) as error:
            logger.info("inputs of %s of run %s are shown as references", step.label, run_id)
            why = f"A value cannot be read: {error}"
    return ShownInputs(as_json(as_text(template)), why)


def unresolved(engine: Engine, run_id: RunId, template: Any) -> str | None:
    """Return why the references of a template are not resolved; None if they can be."""
    given = engine.definitions.get(run_id).definition.spec.given
    keys = sorted({one.step for one in references(template)} - set(given))
    sizes = sum(given[one.step].size for one in references(template) if one.step in given)
    if keys:
        rows = engine.records.autocommit(lambda tx: tx.steps.stored(run_id, keys))
        ended = {row.key for row in rows if row.status in TERMINAL_STEP_STATES}
        if missing := [key for key in keys if key not in ended]:
            return f"Not known yet: {', '.join(missing[:5])}"
        sizes += engine.records.autocommit(lambda tx: tx.overview.result_bytes(run_id, keys))
    if sizes > _MAX_BYTES:
        return f"References, because the results are large: {formatting.size(sizes)}"
    return None


def as_text(template: Any) -> Any:
    """Return a template with its references as text."""
    reference = as_reference(template)
    if reference is not None:
        return f"→ {reference}"
    if isinstance(template, Mapping):
        if CONCAT in template:
            return as_text(template[CONCAT])
        return {name: as_text(value) for name, value in template.items()}
    if isinstance(template, list | tuple):
        return [as_text(value) for value in template]
    return template
