"""References to objects: rooms pass these, never bytes."""

from typing import Annotated

from pydantic import Field

from ._base import Frozen

MAX_NUMBER = 2**53 - 1
"""Of whole numbers in documents that others write: exact in every JSON reader, and far below a database's 2**63."""
Count = Annotated[int, Field(ge=0, le=MAX_NUMBER)]
Positive = Annotated[int, Field(ge=1, le=MAX_NUMBER)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ObjectRef(Frozen):
    """One object, named and pinned: whoever fetches it checks size and hash."""

    uri: Annotated[str, Field(pattern=r"^s3://[a-z0-9.-]+/[\s\S]+$")]
    sha256: Sha256
    size: Count

    @property
    def bucket(self) -> str:
        return self.uri.removeprefix("s3://").partition("/")[0]

    @property
    def key(self) -> str:
        return self.uri.removeprefix("s3://").partition("/")[2]


class Lineage(Frozen):
    """What it takes to make a thing again."""

    code_revision: str
    """Git commit, with `+dirty` where the tree was changed; the package version where there is no git."""
    python: str
    packages: dict[str, str]
    """Versions of the libraries that decide the result, e.g. {"torch": "2.13.0"}."""
    machine: str
