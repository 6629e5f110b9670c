"""What documents of the faces may reach: hosts, files, code, credentials."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from flowq.core.addresses.hosts import HostRule, host_rules


class DocumentSettings(BaseSettings):
    """What playbooks, blocks and workflows may use."""

    strategy_queues: dict[str, str] = Field(
        {}, description='Celery queues for what steps of workflows need: `{"gpu": "cards"}`.'
    )
    fetch_hosts: str = Field(
        "",
        description="Hosts and networks that URLs of feeds and documents may reach although they "
        "are not public: `localhost:8080, intranet.example, 10.0.0.0/8`.",
    )
    blocks_files: Path | None = Field(
        None,
        description="Folder from which documents of blocks may load files. None: they load none.",
    )
    playbook_python: Literal["off", "process", "inline"] = Field(
        "process",
        description="Where Python code of playbooks runs: `process` in a fresh interpreter without "
        "environment, `inline` in the worker, for authors that are trusted as its code is, `off` "
        "nowhere.",
    )
    playbook_pages: int = Field(
        100, gt=0, le=10_000, description="Most pages that one call of a playbook asks for."
    )
    playbook_files: Path | None = Field(
        None,
        description="Folder of scripts and of SQLite and DuckDB files that playbooks may use.",
    )
    playbook_env: str = Field(
        "", description="Environment variables that playbooks may use as secrets: `A_KEY, B_KEY`."
    )
    credentials: str = Field(
        "",
        description="What playbooks may use as credentials, by name: a JSON file that only its "
        "owner may read, or `module:object`. Each is an object with a `kind` and its fields.",
    )

    @field_validator("fetch_hosts")
    @classmethod
    def _hosts(cls, text: str) -> str:
        host_rules(text)
        return text

    @property
    def fetch_rules(self) -> tuple[HostRule, ...]:
        """What may be fetched from although it is not public."""
        return host_rules(self.fetch_hosts)
