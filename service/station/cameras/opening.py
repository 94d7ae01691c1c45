"""Makes the camera that the settings name."""

from service.station.cameras.camera import Camera
from service.station.cameras.folder import WatchedFolder
from service.station.cameras.snapshot import SnapshotUrl
from service.station.settings import CameraSettings


def open_camera(name: str, settings: CameraSettings) -> Camera:
    """Return a camera; nothing is connected before the first part."""
    if settings.folder is not None:
        return WatchedFolder(name, settings.folder)
    assert settings.snapshot is not None
    return SnapshotUrl(name, settings.snapshot)
