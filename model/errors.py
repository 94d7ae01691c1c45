"""What `model` raises for a caller's mistake.

    ModelError
    ├── ConfigError            an impossible network, training or preprocessing configuration
    ├── ScanError              an order, direction count or map size that does not exist
    ├── BackendUnavailable     a library, device or scan backend that is not here
    ├── OutOfMemory            the device has no room for a network or a batch
    ├── DeviceLost             the device cannot be used any more by this process
    ├── WeightsError           encoder or network weights that are missing or do not fit
    ├── CheckpointError        a checkpoint that is missing, damaged or from a newer version
    ├── DatasetError           a data folder that is missing, empty or not in a known layout
    ├── ImageError             an image that cannot be used
    │   ├── ImageFormatRefused   bytes that begin like no format that is read
    │   ├── ImageOverLimit       larger, or dearer to decode, than allowed, by its header
    │   └── ImageDamaged         a file that is cut or damaged
    ├── CalibrationError       too few or unusable scores to set a threshold from
    ├── UnknownCategory        a category that the checkpoint was not calibrated for
    ├── ParityError            a network that does not score its golden images as it did
    ├── ExportError            a checkpoint that cannot be exported, or not as asked
    └── NonFiniteOutput        the network answered NaN or infinity: neither OK nor NG

Each message says what was wrong, what was got and what was expected.
"""


class ModelError(Exception):
    """Base of every error that `model` raises on purpose."""


class ConfigError(ModelError):
    """A configuration that describes nothing that can be built."""


class ScanError(ModelError):
    """A scan order, direction count or map size that does not exist."""


class BackendUnavailable(ModelError):
    """A library, device or scan backend is needed or was asked for, and is not on this machine."""


class OutOfMemory(ModelError):
    """The device has no room for a network, or for a batch of that size."""


class DeviceLost(ModelError):
    """The device cannot be used any more by this process; another one may."""


class WeightsError(ModelError):
    """Weights that are missing, or do not fit the network they are for."""


class CheckpointError(ModelError):
    """A checkpoint that is missing, damaged, or written by a newer version."""


class DatasetError(ModelError):
    """A data folder that is missing, empty, or not laid out as expected."""


class ImageError(ModelError):
    """An image that cannot be used."""


class ImageFormatRefused(ImageError):
    """Bytes that begin like no image format that is read, or a variant that is not."""


class ImageOverLimit(ImageError):
    """An image larger, or dearer to decode, than allowed; its header says so."""


class ImageDamaged(ImageError):
    """An image file that is empty, cut or damaged."""


class CalibrationError(ModelError):
    """Too few, or unusable, scores to set a threshold from."""


class UnknownCategory(ModelError):
    """A category without a calibration in the checkpoint at hand."""


class ParityError(ModelError):
    """A network that does not score its golden images as when they were saved."""


class ExportError(ModelError):
    """A checkpoint that cannot be exported, or not in the form asked for."""


class NonFiniteOutput(ModelError):
    """NaN or infinity in the anomaly map: the part was not inspected."""
