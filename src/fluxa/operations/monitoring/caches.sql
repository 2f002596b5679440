-- What the server counts of its buffers. Owner: caches.py.

-- name: read_buffer_counts
select blks_hit as hits, blks_read as misses from pg_stat_database where datname = current_database()
