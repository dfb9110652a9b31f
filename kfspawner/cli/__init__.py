"""The command line, `kfspawner`: for whoever runs the hub, in its pod or with a kubeconfig."""

from kfspawner.cli.commands import main as main
