"""`drover dataset build|list|show|keep` and `drover gc`, on an embedded store with real episode files."""

import json
import re
from pathlib import Path

from components.contracts import DatasetSpec, FrameSpec, TrainedMembers
from components.datasets import build_dataset, select
from components.ingest import records
from components.storage import S3Store, memory_key, remember
from tests.cli.conftest import Drover
from tests.datasets.records import admit
from tests.datasets.test_build import admitted
from tests.reports import make_ensemble


def test_dataset_is_built_listed_shown_and_kept(drover: Drover, store: S3Store, tmp_path: Path) -> None:
    episodes = [admitted(store, tmp_path, number) for number in range(12)]  # type: ignore[arg-type]  # any store does
    admit(store, episodes)
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"frame": {"width": 16, "height": 9}}))

    built = drover("dataset", "build", "--spec", str(spec)).output
    found = re.search(r"dataset ([0-9a-f]{64}): 12 episodes", " ".join(built.split()))
    assert found, built
    version = found[1]
    wanted, taken = select(store, DatasetSpec(frame=FrameSpec(width=16, height=9)), records(store))
    assert build_dataset(store, wanted, taken, workers=0).version == version  # the flow's own door finds it

    (member, *_) = make_ensemble().members
    trained = TrainedMembers(members=(member.model_copy(update={"dataset": version, "name": "mlp-7"}),))
    remember(store, memory_key("tune", {}), trained)
    (entry,) = json.loads(drover("dataset", "list", "--json").output)
    assert (entry["version"], entry["episodes"], entry["kept"], entry["models"]) == (version, 12, True, ["mlp-7"])
    assert sum(entry["splits"].values()) == 12
    assert entry["built_at"]
    shown = drover("dataset", "show", version[:8]).output
    assert version in shown.replace("\n", "")
    assert "mlp-7" in drover("dataset", "list").output
    drover("dataset", "keep", version[:8], "--off")
    assert json.loads(drover("dataset", "show", version[:8], "--json").output)["kept"] is False


def test_gc_says_what_may_go_and_deletes_nothing_that_is_young(drover: Drover, store: S3Store) -> None:
    store.put("models", "policies/left.safetensors", b"young")
    dry = drover("gc")
    done = drover("gc", "--delete", "--names")
    assert "nothing was deleted" in dry.output
    assert "deleted" in done.output
    assert store.get("models", "policies/left.safetensors") == b"young"
