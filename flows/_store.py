"""The object store as flows use it."""

from components import storage
from components.contracts import Settings

PATIENCE_S = 150.0
"""Longer than a store is away while it is restarted or its machine is: what a stage has made in an hour is not thrown
away for that. Shorter than the shortest time limit of a task."""


def open_store() -> storage.S3Store:
    """The store of the settings; each call to it goes on trying for `PATIENCE_S` while nothing answers."""
    return storage.connect(Settings(), patience=PATIENCE_S)
