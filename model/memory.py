"""How this process deals with memory it has finished with.

glibc hands large blocks back to the kernel as soon as they are freed, and gets fresh ones, cleared
page by page, for the next tensor of the same size. In a training step, whose tensors have the same
sizes as the last one's, that clearing took a fifth of all processor time.
"""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 64 * 1024**2
_MOST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Keep what is freed for the next tensors, from now on; False where that cannot be set.

    The process stays as large as it ever was. For commands that compute until they end; only glibc
    (most of Linux) has these settings, and elsewhere nothing changes.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _MOST), (_M_TOP_PAD, _TOP_PAD_BYTES))
    # All three are set, whatever the first ones answer.
    answers = [int(libc.mallopt(setting, value)) for setting, value in settings]
    return min(answers) == 1
