"""Whether a part belongs to the random sample of its decision that people are asked to judge."""

from uuid import UUID
from zlib import crc32

_RANGE = 2**32


def is_sampled(inspection_id: UUID, share: float) -> bool:
    """Return whether a part is in the sample of a share from 0 to 1, always the same.

    A part in the sample of a share is also in that of every larger share.

    >>> is_sampled(UUID(int=1), 0.0), is_sampled(UUID(int=1), 1.0)
    (False, True)
    """
    return crc32(inspection_id.bytes) < share * _RANGE
