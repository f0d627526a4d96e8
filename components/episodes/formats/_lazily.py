"""Libraries that a robot's installation leaves out."""

from collections.abc import Iterator
from contextlib import contextmanager

from components.contracts.errors import ConfigurationError


@contextmanager
def lazily(what: str) -> Iterator[None]:
    """Around the imports of a format's own libraries.

    Raises:
        ConfigurationError: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{what} needs {error.name}, which is not installed: install drover[platform]"
        ) from None
