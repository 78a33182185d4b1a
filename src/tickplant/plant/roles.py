"""What the supervisor knows of a process by its role: the one place where roles differ."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from tickplant.runtime.control import Role


class Traits(NamedTuple):
    """How processes of a role are started, heard and ended."""

    # Start stage; each waits for the one before. The plant is up after the last of STAGES, and nothing waits for the
    # stage behind that. None: started when needed.
    stage: int | None = None
    reports: bool = True  # says hello and sends heartbeats, so silence means that it hangs
    yields: bool = False  # runs at the lowest priority, so a busy machine may silence it for long
    stores: bool = False  # records left in its rings are nowhere else
    prints: Literal["", "port", "ends"] = ""  # what its stdout holds besides log lines: port, ends of journals


ROLES: Final[dict[Role, Traits]] = {
    "gateway": Traits(stage=3),
    "survey": Traits(prints="ends"),
    "compactor": Traits(yields=True),
    "feed": Traits(stage=2),
    "replay": Traits(stage=2),
    "history": Traits(),
    "engine": Traits(stage=1),
    "writer": Traits(stage=0, stores=True),
    "sim": Traits(stage=0, reports=False, prints="port"),
}
"""In the order in which a drain ends them: producers before consumers. Starts go the other way round."""

STAGES: Final = 3
