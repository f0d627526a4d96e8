"""How much of this machine one uploaded file may use, and how large an episode may be."""

from typing import Annotated

from pydantic import Field

from components.contracts import Frozen

MIB = 2**20


class Limits(Frozen):
    """Caps on a file, and on the process that parses it. Whatever crosses one is quarantined, never lost."""

    failed_reads: Annotated[int, Field(ge=1)] = 3
    """After as many, an object of the inbox is set aside and its robot is asked to send it again."""
    fetch_bytes: Annotated[int, Field(ge=1)] = 4096 * MIB
    """A larger object is not even fetched to be quarantined: it stays in the inbox, and the log says so."""
    file_bytes: Annotated[int, Field(ge=1)] = 512 * MIB
    """Size of a file as uploaded; a larger one is quarantined without being opened."""
    logical_bytes: Annotated[int, Field(ge=1)] = 512 * MIB
    """Decoded size of a file's datasets, as declared: 194 frames of 1280x720."""
    ratio: Annotated[float, Field(gt=1)] = 1100.0
    """Declared size over file size. Deflate cannot reach more than 1032, so a larger one declares what is not there."""
    chunk_bytes: Annotated[int, Field(ge=1)] = 32 * MIB
    """Of one chunk, and of one frame, decoded: some of them are in memory at a time, the whole file never is."""
    frames: Annotated[int, Field(ge=1)] = 10_000
    side: Annotated[int, Field(ge=1)] = 8192
    """Pixels along a frame's longer side."""
    attributes: Annotated[int, Field(ge=1)] = 64
    attribute_bytes: Annotated[int, Field(ge=1)] = 4096
    text_bytes: Annotated[int, Field(ge=1)] = 256
    """One event type."""

    memory_bytes: Annotated[int, Field(ge=1)] = 300_000_000
    """Address space of the parsing process: code, libraries and all (150 MB before it opens a file). What it really
    occupies is less."""
    cpu_s: Annotated[int, Field(ge=1)] = 60
    """Processor time for one file."""
    wall_s: Annotated[float, Field(gt=0)] = 120.0
    """From handing a file to the process until its answer."""
    answer_bytes: Annotated[int, Field(ge=1)] = 64 * 1024
    files_per_process: Annotated[int, Field(ge=1)] = 64
    """Then a fresh process takes over."""
