"""Maps what asyncpg raises to Fluxa's errors, at this border only."""

import contextlib
from collections.abc import Iterator

import asyncpg

from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode, FluxaError

UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,  # deadlock or serialization failure: the same work may succeed later
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,  # a failover in progress
    asyncpg.InternalClientError,
    asyncpg.InvalidCatalogNameError,  # the database is being restored or not yet created
    ConnectionError,
    OSError,
    TimeoutError,
)
"""What an outage looks like from the client's side."""


_NOT_PREPARED = (
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
)
"""What a pooler in transaction mode answers to a client that prepares statements."""


@contextlib.contextmanager
def mapped() -> Iterator[None]:
    """Turn driver errors into `FluxaError`; an outage becomes `DatabaseUnavailableError`.

    Constraint violations pass through: the one who wrote the statement knows what they mean.
    """
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError:
        raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError, *UNAVAILABLE) as error:
        meant = _translated(error)
        if meant is None:
            raise
        raise meant from error


def _translated(error: Exception) -> FluxaError | None:
    if (setting := _wrong_setting(error)) is not None:
        return FluxaError(ErrorCode.CONFIGURATION, setting)
    if isinstance(error, TimeoutError):
        return DatabaseUnavailableError("Postgres, or the pool of connections to it, did not answer in time")
    if isinstance(error, UNAVAILABLE):
        return DatabaseUnavailableError(f"{type(error).__name__}: {error}")
    if isinstance(error, asyncpg.PostgresError):
        return FluxaError(ErrorCode.DB_REJECTED, f"{error.sqlstate}: {error}")
    # asyncpg says so when the connection is closed or the pool is closing; else it is being misused.
    if any(word in str(error) for word in ("closed", "closing", "released")):
        return DatabaseUnavailableError(str(error))
    return None


def _wrong_setting(error: Exception) -> str | None:
    """What is wrong with the settings, if it is they: no retry helps, though some of it looks like an outage."""
    if isinstance(error, asyncpg.ClientConfigurationError):
        return f"FLUXA_DATABASE_URL is not valid: {error}"
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return f"Postgres refused the login: {error}. Correct FLUXA_DATABASE_URL."
    if isinstance(error, _NOT_PREPARED) or (
        isinstance(error, asyncpg.ProtocolViolationError) and "startup parameter" in str(error)
    ):
        return (
            f"The connection is shared by a pooler such as PgBouncer, which keeps no prepared statements ({error}). "
            "Set FLUXA_DATABASE_PREPARED=false."
        )
    return None
