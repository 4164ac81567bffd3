"""One file, one result."""
