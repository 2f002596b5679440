"""Server settings for a machine's memory and for queue tables. Pure: numbers in, text out."""

from collections.abc import Mapping

_MIB = 1 << 20
_GIB = 1 << 30
_SHARED_MEMORY_ENOUGH = 512 * _MIB


def settings(memory_bytes: int, free_disk_bytes: int, shared_memory_bytes: int | None) -> dict[str, str]:
    """The settings of `postgresql.conf` that differ from Postgres' own defaults.

    The server shares its machine with Fluxa and with whatever else runs there, so it takes an eighth
    of the memory for its buffers and trusts the system's file cache for the rest.

    Args:
        memory_bytes: what the machine, or the container, may use.
        free_disk_bytes: what is free where the data lies.
        shared_memory_bytes: the size of the system's folder for shared memory; None if it has none.
    """
    buffers = _within(memory_bytes // 8, 64 * _MIB, 2 * _GIB)
    wal = _within(min(memory_bytes // 4, free_disk_bytes // 20), 256 * _MIB, 4 * _GIB)
    # Containers often have 64 MB there, which one parallel query exceeds.
    cramped = shared_memory_bytes is not None and shared_memory_bytes < _SHARED_MEMORY_ENOUGH
    return {
        "dynamic_shared_memory_type": "sysv" if cramped else "posix",
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "max_connections": "100",
        # The server's user is named as Fluxa's schema; a user's own tables shall not land there.
        "search_path": "public",
        "timezone": "UTC",
        "log_timezone": "UTC",
        # Durability: an acknowledged event is on the disk.
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        # Memory.
        "shared_buffers": _mib(buffers),
        "effective_cache_size": _mib(max(buffers, memory_bytes // 2)),
        "work_mem": _mib(_within(memory_bytes // 512, 4 * _MIB, 32 * _MIB)),
        "maintenance_work_mem": _mib(_within(memory_bytes // 32, 32 * _MIB, 512 * _MIB)),
        "wal_buffers": "16MB",
        # Few checkpoints, spread out: each one makes the next write of every page a whole page in the WAL.
        "max_wal_size": _mib(wal),
        "min_wal_size": _mib(min(wal, 512 * _MIB)),
        "checkpoint_timeout": "15min",
        "checkpoint_completion_target": "0.9",
        "wal_compression": "on",
        "jit": "off",
        "random_page_cost": "1.1",
        # Queue tables die young: look often, clean small amounts, do not dawdle.
        "autovacuum_naptime": "10s",
        "autovacuum_vacuum_scale_factor": "0.05",
        "autovacuum_vacuum_threshold": "500",
        "autovacuum_analyze_scale_factor": "0.05",
        "autovacuum_vacuum_cost_limit": "2000",
        # What a person reads after trouble, in files that stay small.
        "logging_collector": "on",
        "log_filename": "server-%Y%m%d-%H%M%S.log",
        "log_rotation_size": "5MB",
        "log_rotation_age": "7d",
        "log_file_mode": "0600",
        "log_line_prefix": "%m [%p] %a ",
        "log_checkpoints": "off",
        "log_lock_waits": "on",
        "log_min_duration_statement": "10s",
        "log_autovacuum_min_duration": "-1",
    }


def render(values: Mapping[str, str]) -> str:
    """The settings as a file that Postgres reads."""
    lines = ["# Written by Fluxa at every start; put your own settings into local.conf beside this file."]
    for name, value in values.items():
        quoted = value.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{quoted}'")
    return "\n".join(lines) + "\n"


def _within(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _mib(size_bytes: int) -> str:
    return f"{size_bytes // _MIB}MB"
