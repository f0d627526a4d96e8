"""`make bench`: ratios against a named peer or a physical limit, taken in one run -> a table and build/bench.json.

Absolute times belong to the machine; a ratio belongs to the code. Both sides of each are measured in turn, and the
medians are compared.
"""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import camera, ingest, rollouts, runtime, upload
from tests.benchmarks.paired import Row

OUT = Path("build/bench.json")


def main() -> None:
    """Run all, print, write."""
    rows: list[Row] = []
    console = Console()
    for benchmark in (camera, rollouts, ingest, runtime, upload):
        console.print(f"measuring: {benchmark.__doc__.splitlines()[0]}" if benchmark.__doc__ else "measuring")
        rows += benchmark.measure()
    table = Table("what", "value", "unit", "peer", "ratio", "goal", box=None, header_style="dim")
    for row in rows:
        met = row["ratio"] <= row["goal"]
        colour = "green" if met else "red"
        table.add_row(
            row["name"], f"{row['value']:.4g}", row["unit"], row["peer"], f"[{colour}]{row['ratio']:.2f}[/]",
            f"at most {row['goal']:g}",
        )  # fmt: skip
    console.print(table)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=2) + "\n")
    console.print(f"written: {OUT}")


if __name__ == "__main__":
    main()
