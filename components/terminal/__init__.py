"""Terminal output. A string is shown as it is and never read as markup; what a terminal would obey is shown escaped.

Colours are stated in code, with `styled`. Nothing else in Drover makes a console, a `Text` or a progress column: a test
reads the sources for it.

What is not covered: what other people's servers write into their own log files below `<home>/logs`.
"""

from ._console import Console, PlainColumn, echo, echo_json, link, styled

__all__ = ["Console", "PlainColumn", "echo", "echo_json", "link", "styled"]
