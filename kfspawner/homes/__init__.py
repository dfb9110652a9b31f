"""A person's files."""
