"""Times in forms: in the plant's time zone, as fields of the type `datetime-local` write them.

field_time(moment, zone)     # "2026-11-30T08:15"
aware(datetime.fromisoformat("2026-11-30T08:15"), zone)
"""

from datetime import MAXYEAR, MINYEAR, UTC, datetime, tzinfo

from service.errors import InvalidRequest

_FORMAT = "%Y-%m-%dT%H:%M"


def field_time(moment: datetime, zone: tzinfo) -> str:
    """Return a time as a field shows it. Raises `InvalidRequest` if the zone has no such time."""
    try:
        return moment.astimezone(zone).strftime(_FORMAT)
    except OverflowError as error:
        raise InvalidRequest(f"the year {moment.year} is too far away") from error


def aware(moment: datetime, zone: tzinfo) -> datetime:
    """Return a time in UTC; one without a zone is of the plant. Raises `InvalidRequest`."""
    if not MINYEAR < moment.year < MAXYEAR:  # another zone may not be able to write it
        raise InvalidRequest(f"the year {moment.year} is too far away")
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
