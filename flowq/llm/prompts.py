"""Prompts: templates in files, read and checked when a step is defined.

A template is Jinja's, run in its sandbox: `{{ text }}`, `{% for … %}`, `{% include "rules.txt" %}`.
Other values than text are written as JSON. A missing file, a syntax error and a variable that the
step's `Inputs` lacks are errors of the definition, not of the first call.
"""

import json
import sys
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, TemplateError, meta
from jinja2.exceptions import TemplateNotFound, UndefinedError
from jinja2.runtime import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import TypeAdapter

from flowq.core.errors import InvalidPrompt, PromptNotFound, StepError

#: Name of the folder beside the module that defines a step.
FOLDER = "prompts"
_any: TypeAdapter[Any] = TypeAdapter(Any)


class Prompt:
    """A checked template.

    Args:
        file: Its name within the folder.
        folder: Its folder.
        variables: Names of the values that the step passes.
        where: Names the step, for errors.

    Raises:
        PromptNotFound: there is no such file.
        InvalidPrompt: it is no template, or uses a variable that the step does not pass.
    """

    def __init__(self, file: str, folder: Path, variables: Collection[str], *, where: str) -> None:
        self.file = file
        self._where = where
        environment = _environment(folder)
        unknown = sorted(_variables(environment, file, folder, where) - set(variables))
        if unknown:
            raise InvalidPrompt(
                f"{where}: its prompt {folder / file} uses {_listed(unknown)}, "
                f"which its Inputs {'lacks' if len(unknown) == 1 else 'lack'}",
                hint=f"Inputs has: {', '.join(variables) or 'no fields'}",
            )
        self._template: Template = environment.get_template(file)
        #: Its own text, without included files.
        self.text = (folder / file).read_text(encoding="utf-8")

    def render(self, values: Mapping[str, Any]) -> str:
        """Render the prompt with these values.

        Raises:
            StepError: a part of a value is missing, or the template fails otherwise.
        """
        try:
            # The last newline of an included file is kept, that of the whole prompt is not.
            return self._template.render(values).removesuffix("\n")
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            kind = "misses a value" if isinstance(error, UndefinedError) else "fails"
            raise StepError(f"{self._where}: its prompt {self.file} {kind}: {error}") from error


def folder_of(module: str, chosen: Path | str | None, setting: Path | None) -> Path:
    """Return the folder of a step's prompts.

    Args:
        module: The module that defines the step.
        chosen: The folder that its class names; relative to the module's folder.
        setting: The value of FLOWQ_PROMPTS.
    """
    file = getattr(sys.modules.get(module), "__file__", None)
    beside = Path(file).resolve().parent if file else Path.cwd()
    if chosen is not None:
        return beside / chosen
    return setting.resolve() if setting is not None else beside / FOLDER


@lru_cache(maxsize=64)
def _environment(folder: Path) -> Environment:
    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(folder, encoding="utf-8"),
        undefined=StrictUndefined,
        finalize=_text,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )


def _text(value: Any) -> Any:
    """Return a printed value as text; other values become JSON."""
    if isinstance(value, str | Undefined):
        return value
    return json.dumps(_any.dump_python(value, mode="json"), ensure_ascii=False)


def _variables(environment: Environment, file: str, folder: Path, where: str) -> set[str]:
    """Return the variables that a template, with all that it includes, needs."""
    assert environment.loader is not None
    found: set[str] = set()
    open_, known = [file], {file}
    while open_:
        name = open_.pop()
        try:
            source, _, _ = environment.loader.get_source(environment, name)
            tree = environment.parse(source)
        except TemplateNotFound as error:
            raise PromptNotFound(
                f"{where}: there is no prompt {folder / name}",
                hint="create the file; prompts are in the folder `prompts` beside the module, "
                "in `prompts_folder` of the class, or in FLOWQ_PROMPTS",
            ) from error
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            raise InvalidPrompt(
                f"{where}: its prompt {folder / name} is not a valid template: {error}"
                + (f" (line {line})" if line else ""),
                hint="to write {{ as text: {{ '{{' }}",
            ) from error
        found |= meta.find_undeclared_variables(tree)
        new = {each for each in meta.find_referenced_templates(tree) if each} - known
        known |= new
        open_ += sorted(new)
    return found


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(map(repr, names[:-1])), repr(names[-1])]))
