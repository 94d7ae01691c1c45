"""Records parts: their files, then their row; `Recorder` is what an inspection waits for.

recorder = Recorder(journal, MediaWriter(media, settings.keep_images), settings, fail_safe="NG")
result = await recorder.record(part, result, attempts, deadline)
"""

from service.archive.recording.recorder import Recorder
from service.archive.recording.writing import MediaWriter

__all__ = ["MediaWriter", "Recorder"]
