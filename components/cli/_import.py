"""`drover import ...`: other people's recordings as episodes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.contracts import AXES, Axis
from components.contracts.errors import ConfigurationError

from ._console import tell

if TYPE_CHECKING:
    from components.episodes.formats import RosOptions

app = typer.Typer(no_args_is_help=True, help="Other people's recordings as episodes.")

OutOption = Annotated[Path, typer.Option(help="Folder for the episode files.")]
RobotOption = Annotated[str, typer.Option(help="Whose episodes they become.")]
ImagesOption = Annotated[str | None, typer.Option(help="Topic of Image or CompressedImage; if there are several.")]
CommandsOption = Annotated[str | None, typer.Option(help="Topic of Twist or TwistStamped; if there are several.")]
InstructionsOption = Annotated[str | None, typer.Option(help="Topic of String that tells what to do.")]
InstructionOption = Annotated[
    str | None, typer.Option(help="What the robot was told, where the recording does not say.")
]
RateOption = Annotated[float | None, typer.Option(help="Frames a second; otherwise one at each image.")]
GapOption = Annotated[float, typer.Option(help="Seconds without an image that part two episodes.")]
HoldOption = Annotated[float, typer.Option(help="Seconds for which a command counts; then the robot stands.")]
PartialOption = Annotated[
    bool, typer.Option("--allow-partial", help="Take what can be read, where a source holds less than it declares.")
]
FramesOption = Annotated[int | None, typer.Option(min=2, help="Frames an episode at most; otherwise as many as fit.")]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="All or nothing: one damaged file, episode or frame refuses the import.")
]
EPISODES = Path("episodes")


@app.command("donkey")
def import_donkey(
    tub: Annotated[Path, typer.Argument(help="Donkey tubs (version 2): a folder, a .tar.gz or a .zip.")],
    *,
    robot: RobotOption,
    out: OutOption = EPISODES,
    frames: Annotated[int, typer.Option(min=2, help="Frames an episode.")] = 50,
    strict: StrictOption = False,
    allow_partial: PartialOption = False,
) -> None:
    """Turn Donkey tubs into episode files; then `drover robot upload` sends them."""
    from components import episodes

    done = episodes.import_donkey(
        tub, out, robot=robot, frames_per_episode=frames, strict=strict, allow_partial=allow_partial
    )
    tell(done, out, robot)


@app.command("mcap")
def import_mcap(
    source: Annotated[Path, typer.Argument(help="A .mcap file of ROS 2 messages, or a folder of them.")],
    *,
    robot: RobotOption,
    out: OutOption = EPISODES,
    images: ImagesOption = None,
    commands: CommandsOption = None,
    instructions: InstructionsOption = None,
    instruction: InstructionOption = None,
    rate: RateOption = None,
    gap: GapOption = 2.0,
    hold: HoldOption = 2.0,
    frames: FramesOption = None,
    allow_partial: PartialOption = False,
) -> None:
    """ROS 2 messages in MCAP: the nearest image, the last command; or an exported episode as it was."""
    from components.episodes import formats

    options = _ros(
        images=images, commands=commands, instructions=instructions, instruction=instruction, rate=rate, gap=gap,
        hold=hold, frames=frames, allow_partial=allow_partial,
    )  # fmt: skip
    tell(formats.import_mcap(source, out, robot=robot, options=options), out, robot)


@app.command("rosbag2")
def import_rosbag2(
    source: Annotated[Path, typer.Argument(help="A rosbag2 folder (sqlite3 or mcap storage), a .db3 or a .mcap file.")],
    *,
    robot: RobotOption,
    out: OutOption = EPISODES,
    images: ImagesOption = None,
    commands: CommandsOption = None,
    instructions: InstructionsOption = None,
    instruction: InstructionOption = None,
    rate: RateOption = None,
    gap: GapOption = 2.0,
    hold: HoldOption = 2.0,
    frames: FramesOption = None,
    allow_partial: PartialOption = False,
) -> None:
    """A rosbag2 recording: the nearest image, the last command."""
    from components.episodes import formats

    options = _ros(
        images=images, commands=commands, instructions=instructions, instruction=instruction, rate=rate, gap=gap,
        hold=hold, frames=frames, allow_partial=allow_partial,
    )  # fmt: skip
    tell(formats.import_rosbag2(source, out, robot=robot, options=options), out, robot)


@app.command("lerobot")
def import_lerobot(
    source: Annotated[Path, typer.Argument(help="A LeRobotDataset's folder (v3.x or v2.1).")],
    *,
    robot: RobotOption,
    out: OutOption = EPISODES,
    camera: Annotated[str | None, typer.Option(help="Feature of the images; if there are several.")] = None,
    action: Annotated[str, typer.Option(help="Feature of the actions.")] = "action",
    axis: Annotated[
        list[str] | None,
        typer.Option(help="AXIS=NAME[:UNIT] or AXIS=INDEX[:UNIT], e.g. angular_z=yaw:deg/s; for names not known."),
    ] = None,
    strict: StrictOption = False,
    allow_partial: PartialOption = False,
) -> None:
    """A LeRobotDataset; LeKiwi's x.vel, y.vel and theta.vel (deg/s, converted) are known by name."""
    from components.episodes import formats

    axes = dict(_axis(text) for text in axis or [])
    done = formats.import_lerobot(
        source, out, robot=robot, camera=camera, action=action, axes=axes, strict=strict, allow_partial=allow_partial
    )
    tell(done, out, robot)


@app.command("recon")
def import_recon(
    source: Annotated[Path, typer.Argument(help="A RECON-style HDF5 file, or a folder of them.")],
    *,
    robot: RobotOption,
    out: OutOption = EPISODES,
    rate: Annotated[float, typer.Option(help="Frames a second; the files do not tell.")] = 4.0,
    instruction: InstructionOption = None,
    strict: StrictOption = False,
) -> None:
    """RECON-style HDF5: images/rgb_left and commands/{linear,angular}_velocity."""
    from components.episodes import formats

    done = formats.import_recon(source, out, robot=robot, rate_hz=rate, instruction=instruction, strict=strict)
    tell(done, out, robot)


@app.command("hdf5")
def import_hdf5(
    source: Annotated[Path, typer.Argument(help="A robot's episode file, or a folder of them.")],
    *,
    robot: RobotOption,
    out: OutOption = EPISODES,
    strict: StrictOption = False,
) -> None:
    """The robots' own files from a disk: checked, and written anew for that robot."""
    from components.episodes import formats

    tell(formats.import_hdf5(source, out, robot=robot, strict=strict), out, robot)


def _ros(
    *, images: str | None, commands: str | None, instructions: str | None, instruction: str | None, rate: float | None,
    gap: float, hold: float, frames: int | None, allow_partial: bool,
) -> "RosOptions":  # fmt: skip
    from pydantic import ValidationError

    from components.episodes.formats import RosOptions

    try:
        return RosOptions(
            image_topic=images, command_topic=commands, instruction_topic=instructions, instruction=instruction,
            rate_hz=rate, gap_s=gap, hold_s=hold, frames_per_episode=frames, allow_partial=allow_partial,
        )  # fmt: skip
    except ValidationError as error:
        fault = error.errors()[0]
        raise ConfigurationError(f"{fault['loc'][0]}: {fault['msg']}, got {fault['input']!r}") from None


def _axis(text: str) -> tuple[Axis, str]:
    name, _, source = text.partition("=")
    for axis in AXES:
        if axis == name and source:
            return axis, source
    raise ConfigurationError(f"--axis: expected AXIS=NAME[:UNIT] with an axis of {', '.join(AXES)}, got {text!r}")
