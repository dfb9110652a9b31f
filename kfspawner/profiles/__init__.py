"""Who owns a namespace, and what it may use."""
