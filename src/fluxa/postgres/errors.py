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
    asyncpg.ProtocolViolationError,
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
    except _NOT_PREPARED as error:
        # Class 08 or 26, which would look like an outage or a defect; it is neither, and no retry helps.
        if isinstance(error, asyncpg.ProtocolViolationError) and "startup parameter" not in str(error):
            raise DatabaseUnavailableError(f"{type(error).__name__}: {error}") from error
        raise FluxaError(
            ErrorCode.CONFIGURATION,
            f"The connection is shared by a pooler such as PgBouncer, which keeps no prepared statements ({error}). "
            "Set FLUXA_DATABASE_PREPARED=false.",
        ) from error
    except UNAVAILABLE as error:
        raise DatabaseUnavailableError(f"{type(error).__name__}: {error}") from error
    except asyncpg.InterfaceError as error:
        # asyncpg says so when the connection is closed or the pool is closing; also when it is misused.
        if "closed" in str(error) or "closing" in str(error) or "released" in str(error):
            raise DatabaseUnavailableError(str(error)) from error
        raise
    except asyncpg.PostgresError as error:
        raise FluxaError(ErrorCode.DB_REJECTED, f"{error.sqlstate}: {error}") from error
