"""Other people's formats: imports into episode files."""

from ._donkey import import_donkey

__all__ = ["import_donkey"]
