"""A person's running notebook server."""
