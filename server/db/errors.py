"""What can go wrong between the server and its database, split by what the caller can do about it."""

from __future__ import annotations


class DatabaseError(Exception):
    """Base of the errors of `server.db`."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached or cannot work now: the same unit of work may succeed later.

    `sqlstate` is PostgreSQL's code where it gave one, else ''.
    """

    def __init__(self, message: str, *, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class DatabaseRefused(DatabaseError):
    """The database refused this unit of work, and would refuse it again.

    `sqlstate` is the five-character code of the SQL standard ('' where the client refused), `constraint` the
    name of the violated constraint where there is one.
    """

    def __init__(self, message: str, *, sqlstate: str = "", constraint: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.constraint = constraint


class MissingRow(DatabaseRefused):
    """A unit of work named a call or a participant that is not in the database."""


class MigrationError(DatabaseError):
    """The schema on disk and the schema in the database do not fit; the text says which file and why."""


class EmbeddedError(DatabaseError):
    """The embedded PostgreSQL cannot be started; the text says what to change."""


class DataDirBusy(DatabaseError):
    """Another server uses this data directory."""
