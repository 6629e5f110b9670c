"""Refuses query parameters that a route does not know.

A misspelt parameter must not be ignored: `?staus=failed` would list all runs. The known parameters
are those that FastAPI finds in the signature, so no route has to list them.
"""

from difflib import get_close_matches

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query


async def known_parameters(request: Request) -> None:
    """Refuse a request with query parameters that its route does not know.

    Raises:
        RequestValidationError: it names the unknown and the known parameters.
    """
    if not request.query_params:
        return
    parameters = get_flat_params(request.scope["route"].dependant)
    known = sorted(one.alias for one in parameters if isinstance(one.field_info, Query))
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        raise RequestValidationError([_wrong(name, known) for name in unknown])


def _wrong(name: str, known: list[str]) -> dict[str, object]:
    said = f"known are: {', '.join(known)}" if known else "there are none"
    if near := get_close_matches(name, known, n=1):
        said = f"did you mean {near[0]}? {said}"
    return {"type": "unknown", "loc": ("query", name), "msg": f"no such parameter; {said}"}
