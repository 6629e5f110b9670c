"""What `flowq doctor` says of a node of a Redis Cluster.

kombu has no client of a Cluster: its commands name several keys, which must be in one hash slot,
and it follows no redirection. So all keys need a prefix with a hash tag, and the URL has to name
the node that has this slot. That works until the slot moves, or another node takes over.
"""

import re
from typing import Final

from redis import Redis
from redis.exceptions import MovedError, RedisError

from flowq import bootstrap
from flowq.entrypoints.cli.doctor.findings import Finding, Level

_TAG: Final = re.compile(r"\{[^}]+\}")


def check_cluster(client: Redis, text: str) -> Finding | None:
    """Return what there is to say of a node of a Cluster; None for any other server.

    Args:
        client: A client of flowq's Redis, which answers.
        text: What the server is, and where.
    """
    try:
        if not client.info("cluster").get("cluster_enabled"):
            return None
    except RedisError:
        return None  # its user may not ask
    prefix = bootstrap.redis_prefix()
    if not _TAG.search(prefix):
        return Finding(
            "Redis",
            Level.PROBLEM,
            f"{text}; it is a node of a Cluster, and Celery's keys would be in several hash slots",
            "set FLOWQ_REDIS_PREFIX={flowq}, so that all keys are in one; type: flowq docs brokers",
        )
    try:
        client.exists(f"{prefix}flowq:doctor")
    except MovedError as error:
        place = f"{error.host}:{error.port}"
        return Finding(
            "Redis",
            Level.PROBLEM,
            f"{text}; it is a node of a Cluster, and the keys of {prefix} are on {place}",
            f"name that node in FLOWQ_REDIS_URL: redis://{place}/0",
        )
    return Finding(
        "Redis",
        Level.WARNING,
        f"{text}; it is a node of a Cluster, and has the keys of {prefix}",
        "Celery does not follow a Cluster: name the new node if this one is replaced",
    )
