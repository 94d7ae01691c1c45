import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
from model.checkpoints.manifest import FORMAT_VERSION
from model.errors import CheckpointError
from model.images.preprocess import Preprocessing
from model.network import MambaAD, NetworkConfig
from model.scoring.map_baseline import Baseline
from model.scoring.scores import Scoring

CONFIG = NetworkConfig(
    encoder="mobilenetv3_small_050",
    image_size=(64, 64),
    scan="sweep",
    directions=2,
    depths=(2, 2, 2, 2),
    state_size=1,
)
PREPROCESSING = Preprocessing(image_size=(64, 64), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
CALIBRATIONS = {
    "bolt": Calibration.fit([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]),
    "anchor": Calibration.fit([1.0, 2.0], [2.0, 3.0], alpha=0.1),
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MambaAD(CONFIG).eval()


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "weights")


def save(store, network, name="parts", **changes):
    options = {
        "preprocessing": PREPROCESSING,
        "scoring": Scoring(statistic="top_mean", top_fraction=0.02),
        "calibrations": CALIBRATIONS,
        "training": {"epochs": 3},
        "metrics": {},
    }
    return store.save(name, network, **(options | changes))


def edit_manifest(directory, **changes):
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def features(network):
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        teacher, student = network(images)
    return [*teacher, *student]


def test_loads_what_was_saved(store, network):
    saved = save(store, network, license="CC BY-NC-SA 4.0", notice="a demonstration")
    loaded = store.load("parts")
    assert loaded.manifest == saved.manifest
    assert (loaded.name, loaded.version) == ("parts", "1")
    assert loaded.config == CONFIG
    assert loaded.preprocessing == PREPROCESSING
    assert loaded.scoring == Scoring(statistic="top_mean", top_fraction=0.02)
    assert loaded.calibrations == CALIBRATIONS
    assert loaded.manifest.categories == ("anchor", "bolt")
    assert loaded.manifest.license == "CC BY-NC-SA 4.0"
    assert not loaded.network.training
    for actual, expected in zip(features(loaded.network), features(network), strict=True):
        assert torch.equal(actual, expected)


def baseline(seed):
    maps = np.random.default_rng(seed).random((4, *CONFIG.image_size), dtype=np.float32)
    return Baseline.fit([maps])


def test_baselines_come_back_with_the_network(store, network):
    baselines = {"bolt": baseline(0), "anchor": baseline(1)}
    save(store, network, baselines=baselines)
    loaded = store.load("parts")
    assert set(loaded.baselines) == {"bolt", "anchor"}
    for category, saved in baselines.items():
        np.testing.assert_array_equal(loaded.baselines[category].mean, saved.mean)
        np.testing.assert_array_equal(loaded.baselines[category].deviation, saved.deviation)
    updated = store.update(loaded, metrics={"image_auroc": 1.0})
    assert set(updated.baselines) == {"bolt", "anchor"}


def test_a_changed_baseline_is_found(store, network):
    save(store, network, baselines={"bolt": baseline(0)})
    path = store.find("parts") / "baselines.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="is not the file that was saved"):
        store.load("parts")


def test_a_calibrated_category_needs_its_baseline(store, network):
    scoring = Scoring(standardise=True)
    save(store, network, scoring=scoring, baselines={"bolt": baseline(0)})
    with pytest.raises(CheckpointError, match="no baseline for anchor"):
        store.load("parts")


def test_without_baselines_there_is_no_file(store, network):
    save(store, network)
    assert store.load("parts").baselines == {}
    assert not (store.find("parts") / "baselines.safetensors").exists()


def test_a_reader_sees_what_made_it(store, network):
    manifest = save(store, network).manifest
    assert manifest.format_version == FORMAT_VERSION
    assert manifest.created.endswith("+00:00")
    assert manifest.software["torch"] == torch.__version__
    assert set(manifest.software) == {"python", "torch", "timm", "numba", "mambaad-service"}
    text = (store.find("parts") / "manifest.json").read_text()
    assert text.startswith('{\n  "format_version": 1,\n  "name": "parts",')


def test_versions_count_up_and_come_newest_first(store, network):
    for _ in range(11):
        save(store, network)
    save(store, network, name="bolts")
    listed = [(m.name, m.version) for m in store.manifests()]
    assert listed == [("bolts", "1"), *(("parts", str(n)) for n in range(11, 0, -1))]
    assert store.find("parts").name == "11"
    assert store.find("parts", "2").name == "2"
    assert store.problems() == {}


def test_the_encoder_is_stored_once_under_its_hash(store, network):
    first, second = save(store, network), save(store, network, name="bolts")
    assert first.manifest.encoder_file == second.manifest.encoder_file
    files = [path.name for path in (store.root / "encoders").iterdir()]
    assert files == [first.manifest.encoder_file]
    digest = first.manifest.sha256[files[0]]
    assert files[0] == f"mobilenetv3_small_050-{digest[:8]}.safetensors"


def test_only_what_was_trained_is_in_the_network_file(store, network):
    save(store, network)
    small = (store.find("parts") / "network.safetensors").stat().st_size
    trained = sum(t.numel() * t.element_size() for t in network.trained_state().values())
    assert trained < small < trained + 200_000


@pytest.mark.parametrize("file", ["network.safetensors", "encoder"])
def test_a_changed_byte_is_found(store, network, file):
    manifest = save(store, network).manifest
    directory = store.find("parts")
    encoder = store.root / "encoders" / manifest.encoder_file
    path = encoder if file == "encoder" else directory / file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="not the file that was saved"):
        store.load("parts")


def test_saving_again_mends_a_damaged_encoder(store, network):
    encoder = store.root / "encoders" / save(store, network).manifest.encoder_file
    encoder.write_bytes(b"damaged")
    save(store, network, name="bolts")
    assert store.load("parts").version == "1"


@pytest.mark.parametrize("file", ["network.safetensors", "encoder"])
def test_a_missing_file_says_what_to_do(store, network, file):
    manifest = save(store, network).manifest
    encoder = store.root / "encoders" / manifest.encoder_file
    path = encoder if file == "encoder" else store.find("parts") / file
    path.unlink()
    with pytest.raises(CheckpointError, match=r"is missing: fetch it"):
        store.load("parts")


def test_a_newer_format_asks_for_a_newer_program(store, network):
    save(store, network)
    edit_manifest(store.find("parts"), format_version=FORMAT_VERSION + 1, from_the_future=True)
    with pytest.raises(CheckpointError, match="install a newer mambaad-service"):
        store.load("parts")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"created": None}, "created: Input should be a valid string"),
        ({"encoder_file": "../../secret.safetensors"}, "encoder_file: String should match"),
        ({"encoder_file": "/etc/secret.safetensors"}, "encoder_file: String should match"),
        ({"encoder_file": "other.safetensors"}, "sha256 must name"),
        ({"sha256": {}}, "sha256 must name"),
        ({"name": "bolts"}, "move it to the folder"),
        ({"version": "7"}, "move it to the folder"),
        ({"calibrations": {"../bolt": {}}}, "calibrations"),
        ({"calibrations": {"bolt": {}}}, "must have the fields"),
        ({"network": {"encoder": "resnet34", "depth": 3}}, "NetworkConfig has no depth"),
        ({"network": CONFIG.to_dict() | {"directions": 4}}, "fit together"),
        ({"network": CONFIG.to_dict() | {"encoder": "resnet18"}}, "fit together"),
        ({"preprocessing": {"image_size": [64, 64]}}, "fit together"),
        ({"scoring": {"statistic": "median"}}, "fit together"),
    ],
)
def test_a_wrong_manifest_is_refused(store, network, changes, message):
    save(store, network)
    edit_manifest(store.find("parts"), **changes)
    with pytest.raises(CheckpointError, match=message):
        store.load("parts")


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\xff"])
def test_a_damaged_manifest_is_reported_and_the_others_listed(store, network, text):
    save(store, network)
    save(store, network, name="bolts")
    (store.find("parts") / "manifest.json").write_text(text, encoding="latin-1")
    assert [m.name for m in store.manifests()] == ["bolts"]
    assert list(store.problems()) == ["parts/1"]
    assert "manifest.json" in store.problems()["parts/1"]
    with pytest.raises(CheckpointError, match=r"cannot use .*manifest\.json"):
        store.load("parts")


def test_weights_that_are_no_safetensors_are_refused(store, network):
    save(store, network)
    directory = store.find("parts")
    (directory / "network.safetensors").write_bytes(b"")
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["sha256"]["network.safetensors"] = (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    edit_manifest(directory, **manifest)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        store.load("parts")


def test_the_store_may_be_empty_or_absent(store):
    assert store.manifests() == []
    assert store.problems() == {}
    with pytest.raises(CheckpointError, match=r"no checkpoint 'parts' in .*have: none"):
        store.find("parts")


def test_what_is_not_there_is_told_with_what_is(store, network):
    save(store, network)
    with pytest.raises(CheckpointError, match="have: parts"):
        store.find("part")
    with pytest.raises(CheckpointError, match=r"no version '2' .*have: 1"):
        store.find("parts", "2")
    with pytest.raises(CheckpointError, match=r"no manifest\.json"):
        Checkpoint.load(store.root / "parts" / "2")


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", ".hidden", "a b", "ü", "a\n"])
def test_a_name_cannot_leave_the_store(store, network, name):
    with pytest.raises(CheckpointError, match="a checkpoint's name must be"):
        save(store, network, name=name)
    with pytest.raises(CheckpointError, match="a checkpoint's name must be"):
        store.find(name)
    assert not store.root.exists()


@pytest.mark.parametrize("version", ["..", "0", "01", "1/../1", ""])
def test_a_version_cannot_leave_the_store(store, network, version):
    save(store, network)
    with pytest.raises(CheckpointError, match="no version"):
        store.find("parts", version)


def test_the_encoders_folder_is_no_checkpoint(store, network):
    with pytest.raises(CheckpointError, match="reserved for the store"):
        save(store, network, name="encoders")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"loss": float("nan")}}, "JSON values"),
        ({"metrics": {"auroc": object()}}, "JSON values"),
        ({"calibrations": {"a part": CALIBRATIONS["bolt"]}}, "calibrations"),
    ],
)
def test_a_failed_save_leaves_no_version(store, network, changes, message):
    with pytest.raises(CheckpointError, match=message):
        save(store, network, **changes)
    assert store.manifests() == []
    assert not list(store.root.glob("parts/*")) + list(store.root.glob("parts/.*"))


def test_weights_that_are_not_finite_are_not_saved(store):
    network = MambaAD(CONFIG)
    with torch.no_grad():
        next(p for p in network.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(CheckpointError, match="has NaN or infinity"):
        save(store, network)


def test_a_full_disk_leaves_no_version(store, network, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save(store, network)
    monkeypatch.undo()
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_writers_side_by_side_each_get_a_whole_version(store, network):
    errors = []

    def write():
        try:
            save(store, network)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [m.version for m in store.manifests()] == ["6", "5", "4", "3", "2", "1"]
    assert sorted(p.name for p in (store.root / "parts").iterdir()) == list("123456")
    assert store.load("parts", "6").version == "6"


def test_a_half_written_version_is_not_seen(store, network):
    save(store, network)
    (store.root / "parts" / ".saving-0123").mkdir()
    (store.root / "parts" / ".saving-0123" / "network.safetensors").write_bytes(b"half")
    assert [m.version for m in store.manifests()] == ["1"]
    assert save(store, network).version == "2"


def test_update_keeps_the_weights_and_the_other_categories(store, network):
    saved = save(store, network)
    fresh = Calibration.fit([5.0, 6.0], [7.0, 8.0])
    updated = store.update(saved, calibrations={"bolt": fresh}, metrics={"mean": 0.5})
    loaded = store.load("parts")
    assert loaded.manifest == updated.manifest
    assert loaded.version == "1"
    assert loaded.calibrations == {"anchor": CALIBRATIONS["anchor"], "bolt": fresh}
    assert loaded.manifest.metrics == {"mean": 0.5}
    again = store.update(saved, calibrations={"nut": fresh})
    assert again.manifest.metrics == {"mean": 0.5}
    assert again.manifest.categories == ("anchor", "bolt", "nut")


def test_update_refuses_other_weights(store, network):
    save(store, network)
    other = save(CheckpointStore(store.root.parent / "other"), MambaAD(CONFIG))
    with pytest.raises(CheckpointError, match="not those of the checkpoint to update"):
        store.update(other, metrics={})


def test_listing_parses_no_weights(store, network):
    save(store, network)
    (store.find("parts") / "network.safetensors").unlink()
    assert [m.name for m in store.manifests()] == ["parts"]


def test_hashes_are_the_same_in_another_process(store, network):
    first = save(store, network).manifest
    script = (
        "import sys; from pathlib import Path\n"
        "from model.checkpoints.checkpoint import CheckpointStore\n"
        "store = CheckpointStore(Path(sys.argv[1])); c = store.load('parts')\n"
        "store.save('parts', c.network, c.preprocessing, c.scoring, c.calibrations,"
        " training={}, metrics={})\n"
    )
    subprocess.run([sys.executable, "-c", script, str(store.root)], check=True)
    assert store.load("parts", "2").manifest.sha256 == first.sha256


@pytest.mark.parametrize("version", [None, "2"])
def test_an_unfinished_version_is_loaded_only_by_its_name(store, network, caplog, version):
    save(store, network)
    training = {"finished": False, "ended": "interrupted", "epochs_done": 3}
    save(store, network, training=training | {"recipe": {"epochs": 100}})
    loaded = store.load("parts", version)
    assert loaded.version == (version or "1")
    passed = "parts: using version 1; skipped unfinished versions: 2 (3 of 100 epochs done)"
    assert caplog.messages == ([] if version else [passed])


def test_where_no_version_is_finished_the_newest_is_meant_and_the_log_says_so(
    store, network, caplog
):
    for _ in range(2):
        save(store, network, training={"finished": False})
    assert store.find("parts").name == "2"
    assert "no version is finished: 2 (? of ? epochs done), 1" in caplog.messages[0]
