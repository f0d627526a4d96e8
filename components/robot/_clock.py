"""Whether a robot's clock can be believed. A wrong clock switches TUF's expiry off (1970) or blocks updates (2045)."""

from datetime import UTC, datetime, timedelta

EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
"""No robot ran this software before."""
LATEST = datetime(2040, 1, 1, tzinfo=UTC)
"""No robot is expected to run this very version after."""
SLACK = timedelta(hours=1)


def utc_now() -> datetime:
    return datetime.now(UTC)


def implausible(now: datetime, signed_lower_bound: datetime | None) -> str | None:
    """Why `now` cannot be the time, in words; None if it can.

    Args:
        now: what the robot's clock says.
        signed_lower_bound: a moment that is past for certain, because it was signed into release metadata; None:
            nothing was seen yet. Only signed facts raise it: a clock that was once wrong must not lock the robot out.
    """
    if now < EARLIEST:
        return f"the clock says {now:%Y-%m-%d}, expected {EARLIEST:%Y-%m-%d} or later; set the clock"
    if now > LATEST:
        return f"the clock says {now:%Y-%m-%d}, expected {LATEST:%Y-%m-%d} or earlier; set the clock"
    if signed_lower_bound is not None and now < signed_lower_bound - SLACK:
        signed = f"{signed_lower_bound:%Y-%m-%d %H:%M}"
        return f"the clock says {now:%Y-%m-%d %H:%M}, but release metadata was signed at {signed}; set the clock"
    return None
