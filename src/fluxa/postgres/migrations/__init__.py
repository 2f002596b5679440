"""The numbered SQL steps, `NNNN_pre|post_what.sql`; never edited once released."""
