"""What brings kfspawner up: the local node, the images, the hub, the demonstration."""
