"""The checkpoint store: what was trained, how it was trained, and proof that it is unchanged.

    <root>/encoders/<encoder>-<sha8>.safetensors     frozen, shared, named by its content's sha256
    <root>/<name>/<version>/manifest.json            everything a human or the service asks about
    <root>/<name>/<version>/network.safetensors      only what was trained, float32
    <root>/<name>/<version>/baselines.safetensors    the categories' usual maps, where used
    <root>/<name>/<version>/golden.safetensors       a few good images, to compare devices by

Versions are "1", "2", ...; a folder that stands under such a name is complete. Weights are
safetensors, never pickles, and are hashed before they are parsed.
"""

import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model import golden as golden_images
from model.anomaly import Scoring
from model.baseline import Baseline, from_arrays
from model.baseline import to_arrays as baseline_arrays
from model.calibration import Calibration
from model.encoders import SharedEncoders, encoder_file_name
from model.errors import CheckpointError, ModelError
from model.golden import Golden
from model.manifest import (
    BASELINES_FILE,
    ENCODERS,
    FORMAT_VERSION,
    GOLDEN_FILE,
    MANIFEST_FILE,
    NETWORK_FILE,
    Manifest,
    check_name,
    software,
    versions_in,
)
from model.network import MambaAD, NetworkConfig
from model.preprocess import Preprocessing
from model.tensors import to_arrays, to_tensors
from model.weight_files import (
    read_verified,
    read_weights,
    rename_if_free,
    serialise,
    sha256,
    write_durably,
)


@dataclass(frozen=True)
class Checkpoint:
    """A network in memory, and the manifest that says what it is."""

    manifest: Manifest
    network: MambaAD
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    golden: Golden = field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path, encoders: SharedEncoders | None = None) -> "Checkpoint":
        """Load `<root>/<name>/<version>`, every hash verified, ready for inference on the CPU.

        An encoder that is among `encoders` already is used where it is, on whatever device.
        Raises `CheckpointError` for anything missing, damaged, altered or from a newer version.
        """
        directory = directory.resolve()
        manifest = Manifest.read(directory)
        hashes = manifest.sha256
        encoder_path = directory.parent.parent / ENCODERS / manifest.encoder_file
        encoder_hash = hashes[manifest.encoder_file]
        frozen = read_verified(encoder_path, encoder_hash)
        trained = read_weights(directory / NETWORK_FILE, hashes[NETWORK_FILE])
        baselines, images = (
            read_weights(directory / file, hashes[file]) if file in hashes else {}
            for file in (BASELINES_FILE, GOLDEN_FILE)
        )
        try:
            config = NetworkConfig.from_dict(manifest.network)
            shared = SharedEncoders() if encoders is None else encoders
            encoder = shared.get(config.encoder, encoder_path, encoder_hash, frozen)
            network = MambaAD(config, encoder)
            network.load_trained_state(to_tensors(trained))
            golden = golden_images.from_arrays(images, manifest.model_dump()["golden"])
            checkpoint = cls(manifest, network.eval(), from_arrays(baselines), golden)
            checkpoint._read_everything()
        except (ModelError, RuntimeError, TypeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{directory} does not fit together, its manifest and weights describe different "
                f"things; save or import the checkpoint again: {error}"
            ) from error
        return checkpoint

    @property
    def name(self) -> str:
        """The checkpoint's name in its store."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The version under that name: "1", "2", ..."""
        return self.manifest.version

    @property
    def config(self) -> NetworkConfig:
        """The network's configuration."""
        return NetworkConfig.from_dict(self.manifest.network)

    @property
    def preprocessing(self) -> Preprocessing:
        """From image to tensor, exactly as trained."""
        return Preprocessing.from_dict(self.manifest.preprocessing)

    @property
    def scoring(self) -> Scoring:
        """From anomaly map to raw score, exactly as calibrated."""
        return Scoring.from_dict(self.manifest.scoring)

    @property
    def calibrations(self) -> dict[str, Calibration]:
        """The thresholds of each category."""
        return {k: Calibration.from_dict(v) for k, v in self.manifest.calibrations.items()}

    def _read_everything(self) -> None:
        """Raise at load, rather than at the first part, for what the manifest says wrongly."""
        _, calibrated = self.preprocessing, self.calibrations.keys()
        if self.scoring.standardise and (missing := calibrated - self.baselines.keys()):
            raise CheckpointError(f"no baseline for {', '.join(sorted(missing))}")


class CheckpointStore:
    """A folder of checkpoints, each under its name and version."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def manifests(self) -> list[Manifest]:
        """Return every readable manifest, by name and then newest first; loads no weights."""
        return [entry for entry in self.entries().values() if isinstance(entry, Manifest)]

    def problems(self) -> dict[str, str]:
        """Say of each "name/version" whose manifest cannot be read why it cannot."""
        entries = self.entries()
        return {place: str(e) for place, e in entries.items() if isinstance(e, CheckpointError)}

    def find(self, name: str, version: str | None = None) -> Path:
        """Return the folder of a checkpoint, by default of its newest version.

        Raises `CheckpointError`, listing what there is, when there is none.
        """
        check_name(name)
        have = versions_in(self.root / name)
        if not have:
            names = ", ".join(sorted({p.parent.name for p in self._folders()}))
            raise CheckpointError(
                f"no checkpoint {name!r} in {self.root}; have: {names or 'none at all'}"
            )
        if version is None:
            return self.root / name / have[0]
        if version not in have:
            raise CheckpointError(
                f"no version {version!r} of checkpoint {name!r} in {self.root}; "
                f"have: {', '.join(have)}"
            )
        return self.root / name / version

    def load(
        self, name: str, version: str | None = None, encoders: SharedEncoders | None = None
    ) -> Checkpoint:
        """Load a checkpoint, by default its newest version; see `Checkpoint.load`."""
        return Checkpoint.load(self.find(name, version), encoders)

    def save(
        self,
        name: str,
        network: MambaAD,
        preprocessing: Preprocessing,
        scoring: Scoring,
        calibrations: Mapping[str, Calibration],
        *,
        training: Mapping[str, Any],
        metrics: Mapping[str, Any],
        license: str | None = None,
        notice: str | None = None,
        baselines: Mapping[str, Baseline] | None = None,
        golden: Golden | None = None,
    ) -> Checkpoint:
        """Write the next version under `name`: all of it or nothing, also beside other writers.

        `training` and `metrics` hold JSON values. Raises `CheckpointError` for a name or value
        that cannot be stored, weights that are not finite, or a disk that refuses.
        """
        check_name(name)
        files = {NETWORK_FILE: serialise("network", to_arrays(network.trained_state()))}
        if baselines:
            files[BASELINES_FILE] = serialise("baselines", baseline_arrays(baselines))
        if golden:
            files[GOLDEN_FILE] = serialise("golden images", golden_images.to_arrays(golden))
        encoder = serialise("encoder", to_arrays(network.encoder.state_dict()))
        encoder_file = encoder_file_name(network.config.encoder, encoder)
        manifest = Manifest.from_values(
            {
                "format_version": FORMAT_VERSION,
                "name": name,
                "version": "1",
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "network": network.config.to_dict(),
                "preprocessing": preprocessing.to_dict(),
                "scoring": scoring.to_dict(),
                "calibrations": {k: v.to_dict() for k, v in sorted(calibrations.items())},
                "encoder_file": encoder_file,
                "sha256": {k: sha256(v) for k, v in (files | {encoder_file: encoder}).items()},
                "training": dict(training),
                "metrics": dict(metrics),
                "software": software(),
                "license": license,
                "notice": notice,
                "golden": golden_images.to_entries(golden or {}),
            }
        )
        try:
            self._write_encoder(encoder_file, encoder)
            saved = self._write_version(manifest, files)
            return Checkpoint(saved, network, baselines or {}, golden or {})
        except OSError as error:
            raise CheckpointError(f"cannot save {name!r} in {self.root}: {error}") from error

    def update(
        self,
        checkpoint: Checkpoint,
        *,
        calibrations: Mapping[str, Calibration] | None = None,
        metrics: Mapping[str, Any] | None = None,
        source: str = "",
    ) -> Checkpoint:
        """Rewrite a saved checkpoint's manifest in one step; its weights stay as they are.

        `calibrations`, from `source`, replace those of the categories they name; `metrics` all.
        """
        directory = self.find(checkpoint.name, checkpoint.version)
        manifest = Manifest.read(directory)
        if manifest.sha256 != checkpoint.manifest.sha256:
            raise CheckpointError(
                f"{directory} holds other weights than the checkpoint to update: load it again"
            )
        values = manifest.recalibrated(calibrations or {}, source).model_dump()
        values["metrics"] = manifest.metrics if metrics is None else dict(metrics)
        text = Manifest.from_values(values).to_json()
        try:
            write_durably(directory / MANIFEST_FILE, text.encode())
        except OSError as error:
            raise CheckpointError(f"cannot update {directory}: {error}") from error
        return replace(checkpoint, manifest=Manifest.from_json(text))

    def entries(self) -> dict[str, Manifest | CheckpointError]:
        """Return every "name/version": its manifest, or why that cannot be read."""
        entries: dict[str, Manifest | CheckpointError] = {}
        for directory in self._folders():
            place = f"{directory.parent.name}/{directory.name}"
            try:
                entries[place] = Manifest.read(directory)
            except CheckpointError as error:
                entries[place] = error
        return entries

    def _folders(self) -> Iterator[Path]:
        """Yield every version's folder, by name and then newest first."""
        if not self.root.is_dir():
            return
        for parent in sorted(self.root.iterdir()):
            if parent.name != ENCODERS:
                yield from (parent / version for version in versions_in(parent))

    def _write_encoder(self, file: str, data: bytes) -> None:
        path = self.root / ENCODERS / file
        path.parent.mkdir(parents=True, exist_ok=True)
        # The name is the content's: the same bytes are already there, or a damaged copy to mend.
        if not path.is_file() or sha256(path.read_bytes()) != sha256(data):
            write_durably(path, data)

    def _write_version(self, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
        """Write beside the versions, then take the next free number by one rename."""
        parent = self.root / manifest.name
        parent.mkdir(parents=True, exist_ok=True)
        staging = parent / f".saving-{secrets.token_hex(8)}"
        staging.mkdir()
        try:
            for name, data in files.items():
                write_durably(staging / name, data)
            while True:
                version = str(int(next(iter(versions_in(parent)), "0")) + 1)
                text = manifest.model_copy(update={"version": version}).to_json()
                write_durably(staging / MANIFEST_FILE, text.encode())
                if rename_if_free(staging, parent / version):
                    return Manifest.from_json(text)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
