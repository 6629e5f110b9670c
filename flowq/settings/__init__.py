"""All settings: one frozen object, read once from `FLOWQ_*` variables: `flowq docs settings`.

Without any of them flowq keeps everything in the folder `.flowq` of the current directory: an
embedded Valkey, a SQLite file and a folder for large results. The fields are in the modules of this
package, by subject.
"""

from datetime import timedelta
from typing import Any, Final

from pydantic import ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from flowq.core.errors import InvalidSetting
from flowq.settings.documents import DocumentSettings
from flowq.settings.engine import EngineSettings
from flowq.settings.models import ModelSettings
from flowq.settings.servers import ServerSettings

__all__ = ["Settings"]

#: What the names of times end with, in seconds.
_UNITS: Final = {"seconds": 1, "hours": 3_600, "days": 86_400}
_MAX_DURATION: Final = timedelta(days=36_525)


# The fields of the last base are the first ones.
class Settings(DocumentSettings, ModelSettings, EngineSettings, ServerSettings):
    """Settings of one process. Each field is the variable `FLOWQ_` + its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="FLOWQ_",
        frozen=True,
        env_ignore_empty=True,
        protected_namespaces=(),
        # A value may hold a password: `flowq.core.addresses.setting_errors` says which is shown.
        hide_input_in_errors=True,
    )

    @field_validator("*")
    @classmethod
    def _bounded(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a time that leads out of the calendar, where it is added to one."""
        unit = _UNITS.get(str(info.field_name).rpartition("_")[2])
        if unit is not None and value * unit > _MAX_DURATION.total_seconds():
            raise InvalidSetting("is more than 100 years", hint="type: flowq docs settings")
        return value
