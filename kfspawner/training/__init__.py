"""From an image digest to a run and its log."""
