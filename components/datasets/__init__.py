"""Versioned datasets."""

from ._frames import EpisodeFrames

__all__ = ["EpisodeFrames"]
