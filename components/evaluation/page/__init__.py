"""A report as people read it: the verdict in words, and one self-contained page."""

from ._films import failures
from ._pictures import Place, chosen_frames
from ._render import Material, render
from ._verdict import Reason, Verdict, judge, words

__all__ = ["Material", "Place", "Reason", "Verdict", "chosen_frames", "failures", "judge", "render", "words"]
