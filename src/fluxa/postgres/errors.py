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


@contextlib.contextmanager
def mapped() -> Iterator[None]:
    """Turn driver errors into `FluxaError`; an outage becomes `DatabaseUnavailableError`.

    Constraint violations pass through: the one who wrote the statement knows what they mean.
    """
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError:
        raise
    except UNAVAILABLE as error:
        raise DatabaseUnavailableError(f"{type(error).__name__}: {error}") from error
    except asyncpg.InterfaceError as error:
        # asyncpg says so when the connection is closed or the pool is closing; also when it is misused.
        if "closed" in str(error) or "closing" in str(error) or "released" in str(error):
            raise DatabaseUnavailableError(str(error)) from error
        raise
    except asyncpg.PostgresError as error:
        raise FluxaError(ErrorCode.DB_REJECTED, f"{error.sqlstate}: {error}") from error
