"""What is kept: SQLite rows and content-addressed blobs. The only importer of sqlite_utils."""
