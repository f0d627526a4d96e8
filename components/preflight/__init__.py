"""Checks before a training run: whatever a request and the catalogue can tell, in seconds, and all of it at once.

`preflight` looks, `require` raises. A problem would end the run in one of its stages, hours later at worst. A warning
is a rule of the gate that is certain to refuse whatever is trained: the run goes on, since its report may be all that
is wanted.

What is not covered: what only the episodes' bytes tell (an episode that cannot be decoded), how well anything will
drive, and machines that fail.
"""

from ._preflight import Preflight, preflight, require

__all__ = ["Preflight", "preflight", "require"]
