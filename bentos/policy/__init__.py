"""The promoted policy over HTTP."""

from ._access import guarded, serving_token

__all__ = ["guarded", "serving_token"]
