"""The keys file in a Secret's volume: links to links, which the kubelet exchanges in one step."""

from pathlib import Path

from service.access.key_ring import KeyRing
from service.access.keys import add_key


class SecretVolume:
    """A folder as the kubelet writes it, with the mode and links of a Secret."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        folder.mkdir()

    def write(self, name: str, content: bytes) -> None:
        self._count += 1
        data = self.folder / f"..2026_11_29_{self._count}"
        data.mkdir()
        (data / name).write_bytes(content)
        (data / name).chmod(0o440)
        link = self.folder / "..data_tmp"
        link.symlink_to(data.name)
        link.replace(self.folder / "..data")
        if not (self.folder / name).is_symlink():
            (self.folder / name).symlink_to(f"..data/{name}")


def test_keys_from_a_secret_are_read_and_follow_its_changes(tmp_path: Path):
    file, volume, now = tmp_path / "keys.json", SecretVolume(tmp_path / "keys"), [1000.0]
    add_key(file, "line-3", ["detect"])
    volume.write("keys.json", file.read_bytes())
    ring = KeyRing(volume.folder / "keys.json", 900.0, lambda: now[0])
    assert [key.name for key in ring.keys] == ["line-3"]
    add_key(file, "line-4", ["detect"])
    volume.write("keys.json", file.read_bytes())
    now[0] += 2.0
    assert ring.unread_s() == 0.0
    assert [key.name for key in ring.keys] == ["line-3", "line-4"]
