"""What the supervisor knows of a process by its role: the one place in which roles differ."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from tickplant.runtime.control import Role


class Traits(NamedTuple):
    """How processes of a role are started, heard and ended."""

    # Of a start, in which all are ready before the next one: the plant is up with the last of STAGES, and nobody waits
    # for the stage behind. None: started when needed.
    stage: int | None = None
    reports: bool = True  # it says hello and sends heartbeats, so its silence means that it hangs
    yields: bool = False  # it runs at the lowest priority, so a busy machine may silence it for long
    stores: bool = False  # what it leaves in its rings is nowhere else
    prints: Literal["", "port", "ends"] = ""  # what its stdout holds beside log lines: its port, or where journals end


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
