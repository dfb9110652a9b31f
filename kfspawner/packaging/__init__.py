"""Code becomes an image: source, layer, and the base they are put on.

`cell_source` and its kin say what is to run, `package` appends it to
an image by the registry's API and returns the digest. Nothing here knows
Kubernetes, and nothing here needs a container engine.
"""

from kfspawner.packaging.image import Ground, append, package
from kfspawner.packaging.layer import Layer, make_layer
from kfspawner.packaging.registry import Registry
from kfspawner.packaging.signin import Credentials
from kfspawner.packaging.source import (
    RUN_DIR,
    Source,
    cell_source,
    folder_source,
    function_source,
    script_source,
)
from kfspawner.reference import Reference

__all__ = [
    "RUN_DIR",
    "Credentials",
    "Ground",
    "Layer",
    "Reference",
    "Registry",
    "Source",
    "append",
    "cell_source",
    "folder_source",
    "function_source",
    "make_layer",
    "package",
    "script_source",
]
