"""Load and save checkpoints with their torch network."""

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.calibration.calibration import Calibration
from model.checkpoints import golden as golden_images
from model.checkpoints.agreement import Agreements, merged
from model.checkpoints.files import parse_weights, serialise, sha256
from model.checkpoints.golden import Golden
from model.checkpoints.headers import read_checked
from model.checkpoints.manifest import (
    BASELINES_FILE,
    ENCODERS,
    FORMAT_VERSION,
    GOLDEN_FILE,
    MANIFEST_FILE,
    NETWORK_FILE,
    ONNX_FILE,
    Manifest,
    check_name,
    software,
    versions_in,
)
from model.checkpoints.outline import Outline, accept
from model.checkpoints.seen import (
    LIST,
    CalibrationImages,
    SeenImages,
    entry,
    file_name,
    forget_lists,
    read_seen,
)
from model.checkpoints.shared_encoders import SharedEncoders, encoder_file_name
from model.checkpoints.store import Store, StoredVersion, does_not_fit
from model.checkpoints.tensors import to_arrays, to_tensors
from model.durable import rename_if_free, write_durably
from model.errors import CheckpointError, ModelError, OutOfMemory
from model.images.areas import Area
from model.images.preprocess import Preprocessing
from model.network import Encoder, MambaAD, NetworkConfig
from model.scoring.baselines import AnyBaseline
from model.scoring.baselines import to_arrays as baseline_arrays
from model.scoring.fused_baseline import FusedBaseline
from model.scoring.scores import Scoring


@dataclass(frozen=True, kw_only=True)
class Checkpoint(StoredVersion):
    """A network in memory with its manifest."""

    network: MambaAD

    @classmethod
    def load(cls, directory: Path, encoders: SharedEncoders | None = None) -> "Checkpoint":
        """Load `<root>/<name>/<version>` for inference on the CPU, after verifying every hash.

        An encoder that is already in `encoders` is shared and stays on its device. Raises
        `CheckpointError` for a file that is missing, damaged, altered or from a newer version.
        """
        directory = directory.resolve()
        version = StoredVersion.read(directory)
        manifest, hashes = version.manifest, version.manifest.sha256
        if not manifest.has_network:
            raise CheckpointError(
                f"{version.name}/{version.version} has no network for torch, only {ONNX_FILE}: "
                "serve it with onnxruntime, or use the checkpoint from which it was exported"
            )
        root = directory.parent.parent
        encoder_path, path = root / ENCODERS / manifest.encoder_file, directory / NETWORK_FILE
        encoder_hash = hashes[manifest.encoder_file]
        try:
            config = NetworkConfig.from_dict(manifest.network)
            outline = Outline.of(config)
        except (ModelError, TypeError, ValueError) as error:
            raise does_not_fit(directory, error) from error
        of_encoder = outline.check_encoder(encoder_path) if outline else accept
        of_trained = outline.check_trained(path) if outline else accept
        frozen = read_checked(encoder_path, encoder_hash, of_encoder, root)
        trained = parse_weights(path, read_checked(path, hashes[NETWORK_FILE], of_trained, root))
        try:
            shared = SharedEncoders() if encoders is None else encoders
            encoder = shared.get(config.encoder, encoder_path, encoder_hash, frozen)
            network = MambaAD(config, encoder)
            network.load_trained_state(to_tensors(trained))
            _check_memories(version.baselines, encoder)
        except OutOfMemory:
            raise
        except (ModelError, RuntimeError, TypeError, ValueError, KeyError) as error:
            if "can't allocate memory" in str(error):  # torch's message on a CPU
                raise OutOfMemory(
                    f"not enough memory for {version.name}/{version.version}"
                ) from error
            raise does_not_fit(directory, error) from error
        return cls(
            manifest=manifest,
            baselines=version.baselines,
            golden=version.golden,
            network=network.eval(),
        )

    @property
    def config(self) -> NetworkConfig:
        """The network's configuration."""
        return NetworkConfig.from_dict(self.manifest.network)


def _check_memories(baselines: Mapping[str, AnyBaseline], encoder: Encoder) -> None:
    """Raise `ValueError` for patches of another number of channels than the encoder's."""
    channels = sum(encoder.channels[1:])
    for category, baseline in baselines.items():
        if isinstance(baseline, FusedBaseline) and baseline.memory.channels != channels:
            raise ValueError(
                f"the memory of {category} has patches of {baseline.memory.channels} channels, "
                f"expected the encoder's {channels}"
            )


class CheckpointStore(Store):
    """A store that loads and saves torch networks."""

    def load(
        self, name: str, version: str | None = None, encoders: SharedEncoders | None = None
    ) -> Checkpoint:
        """Load a checkpoint, by default its newest finished version; see `Checkpoint.load`."""
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
        baselines: Mapping[str, AnyBaseline] | None = None,
        golden: Golden | None = None,
        areas: Mapping[str, Area] | None = None,
        seen: SeenImages | None = None,
    ) -> Checkpoint:
        """Write the next version under `name` atomically; safe with concurrent writers.

        `training` and `metrics` are JSON values; `seen` lists the images behind them. Raises
        `CheckpointError` for an invalid name or value, weights that are not finite, or a failed
        write.
        """
        check_name(name)
        files = {NETWORK_FILE: serialise("network", to_arrays(network.trained_state()))}
        if baselines:
            files[BASELINES_FILE] = serialise("baselines", baseline_arrays(baselines))
        if golden:
            files[GOLDEN_FILE] = serialise("golden images", golden_images.to_arrays(golden))
        lists = {} if seen is None else {LIST: seen.to_bytes()}
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
                "training": {k: v for k, v in training.items() if k != LIST}
                | {key: entry(content) for key, content in lists.items()},
                "metrics": dict(metrics),
                "software": software(),
                "license": license,
                "notice": notice,
                "golden": golden_images.to_entries(golden or {}),
                "areas": {k: v.model_dump() for k, v in sorted((areas or {}).items())},
            }
        )
        try:
            self._write_encoder(encoder_file, encoder)
            files |= {file_name(content): content for content in lists.values()}
            saved = self._write_version(manifest, files)
            return Checkpoint(
                manifest=saved, baselines=baselines or {}, golden=golden or {}, network=network
            )
        except OSError as error:
            raise CheckpointError(f"cannot save {name!r} in {self.root}: {error}") from error

    def update(
        self,
        checkpoint: Checkpoint,
        *,
        calibrations: Mapping[str, Calibration] | None = None,
        metrics: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        source: str = "",
        images: CalibrationImages | None = None,
        agreements: Agreements | None = None,
    ) -> Checkpoint:
        """Rewrite a saved checkpoint's manifest atomically; the weights do not change.

        `calibrations`, made from `source` and `images`, replace those of the same categories;
        `metrics` replaces all metrics. Entries of `training` are merged into that section; None
        deletes an entry. `agreements` are added.
        """
        directory = self.find(checkpoint.name, checkpoint.version)
        manifest = Manifest.read(directory)
        if manifest.sha256 != checkpoint.manifest.sha256:
            raise CheckpointError(
                f"the weights in {directory} are not those of the checkpoint to update: load it "
                "again"
            )
        changed = manifest.recalibrated(calibrations or {}, source)
        values = changed.model_dump()
        values["agreements"] = merged(changed.agreements, agreements or {})
        values["metrics"] = manifest.metrics if metrics is None else dict(metrics)
        content = b"" if images is None else self._list_with(directory, manifest, values, images)
        learned = {**manifest.training, **(training or {})}
        if content:
            learned[LIST] = entry(content)
        values["training"] = {k: v for k, v in learned.items() if v is not None}
        text = Manifest.from_values(values).to_json()
        try:
            if content:  # under a new name, so that the manifest switches lists atomically
                write_durably(directory / file_name(content), content)
            write_durably(directory / MANIFEST_FILE, text.encode())
            if content:
                forget_lists(directory, file_name(content))
        except OSError as error:
            raise CheckpointError(f"cannot update {directory}: {error}") from error
        return replace(checkpoint, manifest=Manifest.from_json(text))

    @staticmethod
    def _list_with(
        directory: Path, before: Manifest, values: Mapping[str, Any], images: CalibrationImages
    ) -> bytes:
        """Return the content of the image list, extended by a new calibration."""
        number = Manifest.from_values(values).calibration_version
        try:
            seen = read_seen(directory, before) or SeenImages()
        except CheckpointError:  # the list is lost, so start a new one with this calibration
            seen = SeenImages()
        return seen.calibrated(number, images).to_bytes()

    def _write_encoder(self, file: str, data: bytes) -> None:
        path = self.root / ENCODERS / file
        path.parent.mkdir(parents=True, exist_ok=True)
        # The name is derived from the content, so an existing file is equal or a damaged copy.
        if not path.is_file() or sha256(path.read_bytes()) != sha256(data):
            write_durably(path, data)

    def _write_version(self, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
        """Write to a temporary folder, then rename it to the next free number."""
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
