"""The errors that `model` raises for a caller's mistake.

    ModelError
    ├── ConfigError            an impossible network, training or preprocessing configuration
    ├── ScanError              an order, direction count or map size that does not exist
    ├── BackendUnavailable     a missing library, device or scan backend
    ├── OutOfMemory            the device has no room for a network or a batch
    ├── DeviceLost             this process can no longer use the device
    ├── ProcessLost            another process of a training has ended or cannot be reached
    ├── WeightsError           encoder or network weights that are missing or do not fit
    ├── CheckpointError        a checkpoint that is missing, damaged or from a newer version
    ├── DatasetError           a data folder that is missing, empty or not in a known layout
    ├── ImageError             an image that cannot be used
    │   ├── ImageFormatRefused   an unsupported image format
    │   ├── ImageOverLimit       too large or too expensive to decode, by its header
    │   └── ImageDamaged         a truncated or damaged file
    ├── CalibrationError       too few or unusable scores to set a threshold from
    ├── UnknownCategory        a category that the checkpoint was not calibrated for
    ├── ParityError            a network whose golden-image scores have changed
    ├── ExportError            a checkpoint that cannot be exported in the requested form
    └── NonFiniteOutput        the network returned NaN or infinity: neither OK nor NG

Each message says what was wrong, the actual value and the expected one.
"""


class ModelError(Exception):
    """Base of every error that `model` raises on purpose."""


class ConfigError(ModelError):
    """An invalid configuration of the network, training or preprocessing."""


class ScanError(ModelError):
    """A scan order, direction count or map size that does not exist."""


class BackendUnavailable(ModelError):
    """A required library, device or scan backend is not on this machine."""


class OutOfMemory(ModelError):
    """The device has no room for a network, or for a batch of that size."""


class DeviceLost(ModelError):
    """A device that this process can no longer use; a new process may."""


class ProcessLost(ModelError):
    """Another process of a training has ended, or its host cannot be reached."""


class WeightsError(ModelError):
    """Weights that are missing or do not fit their network."""


class CheckpointError(ModelError):
    """A checkpoint that is missing, damaged, or written by a newer version."""


class DatasetError(ModelError):
    """A data folder that is missing, empty, or not laid out as expected."""


class ImageError(ModelError):
    """An image that cannot be used."""


class ImageFormatRefused(ImageError):
    """Bytes of an unsupported image format, or an unsupported variant of one."""


class ImageOverLimit(ImageError):
    """An image whose header declares it too large or too expensive to decode."""


class ImageDamaged(ImageError):
    """An image file that is empty, truncated or damaged."""


class CalibrationError(ModelError):
    """Too few, or unusable, scores to set a threshold from."""


class UnknownCategory(ModelError):
    """A category for which the checkpoint has no calibration."""


class ParityError(ModelError):
    """A network whose scores of its golden images differ from the saved ones."""


class ExportError(ModelError):
    """A checkpoint that cannot be exported in the requested form."""


class NonFiniteOutput(ModelError):
    """NaN or infinity in the anomaly map: the part was not inspected."""
