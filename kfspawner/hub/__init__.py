"""What runs beside the hub, and asks it."""
