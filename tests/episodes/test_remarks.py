"""Remarks on an import: each once, with the recordings that it is of."""

from components.episodes.formats._conversion import Remarks


def test_equal_notes_of_several_recordings_name_each_of_them() -> None:
    remarks = Remarks()
    remarks.note("linear_y is zero")
    for name in ("monday.mcap", "tuesday.mcap", "wednesday.mcap"):
        remarks.begin(name)
        if name != "tuesday.mcap":
            remarks.note("2 frames command more than +-1.15")
            remarks.note("2 frames command more than +-1.15")
        remarks.lose("/cmd_vel: linear.z")
    assert remarks.notes == (
        "linear_y is zero",
        "2 frames command more than +-1.15 (monday.mcap, wednesday.mcap)",
    )
    assert remarks.lost == ("/cmd_vel: linear.z (monday.mcap, tuesday.mcap, wednesday.mcap)",)


def test_a_single_recording_is_not_named_and_none_is_named_twice() -> None:
    remarks = Remarks()
    remarks.begin("monday.mcap")
    remarks.note("the clock jumps")
    assert remarks.notes == ("the clock jumps",)
    remarks.begin("tuesday.mcap")
    remarks.note("tuesday.mcap was cut off")
    assert remarks.notes == ("the clock jumps (monday.mcap)", "tuesday.mcap was cut off")
