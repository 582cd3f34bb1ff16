"""Real servers for one checkout, without Docker and without root."""

from deploy.fetch.store import MissingToolError
from deploy.local.database import Database
from deploy.local.services import LocalServices, PortInUseError, RootInUseError
from deploy.local.supervisor import Child, ChildError, Supervisor

__all__ = [
    "Child",
    "ChildError",
    "Database",
    "LocalServices",
    "MissingToolError",
    "PortInUseError",
    "RootInUseError",
    "Supervisor",
]
