"""A real one-node Kubernetes for a machine with no container engine and no image registry."""
