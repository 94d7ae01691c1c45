"""The older names of settings, without the room: MAMBAAD_PORT for MAMBAAD_HTTP__PORT.

They stay valid. New settings have no older name, so nothing is added here.
"""

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource, SettingsError

from service.settings.environment import PREFIX, given_variables, variable_of

_FIELDS_OF_ROOMS = {
    "http": "host port trusted_proxies connection_limits max_connections max_header_bytes "
    "max_request_bytes max_inflight_bytes request_timeout_ms header_timeout_s body_timeout_s "
    "min_body_bytes_per_s send_timeout_s keep_alive_s shutdown_grace_s",
    "access": "api_keys_file allow_anonymous metrics_require_key rate_limit_per_s cors_origins",
    "api": "max_files_per_request max_images_per_batch batch_request_timeout_ms "
    "idempotency_max_answers idempotency_max_bytes idempotency_ttl_s",
    "inspection": "max_image_bytes max_image_pixels max_image_tiles decode_threads fail_safe "
    "drift_window_parts drift_max_ng_share",
    "workers": "devices workers_per_device threads_per_worker backend precision cuda_graphs "
    "max_model_bytes max_batch_size max_queue_delay_ms batch_efficiency max_queue_size "
    "max_queue_bytes priority_patience_ms batch_timeout_ms min_batch_timeout_ms "
    "heartbeat_timeout_ms startup_timeout_s restart_backoff_s max_restart_backoff_s stop_grace_s",
    "versions": "weights_dir state_dir",
    "telemetry": "log_level log_format trace_endpoint",
}

FLAT_NAMES = {
    PREFIX + field.upper(): (room, field)
    for room, fields in _FIELDS_OF_ROOMS.items()
    for field in fields.split()
}
"""Each flat name's room and field."""


class FlatNames(PydanticBaseSettingsSource):
    """The environment's settings by their flat names.

    Raises `SettingsError` if the two names of a setting have different values.
    """

    def __call__(self) -> dict[str, Any]:
        """Return the values by room and field."""
        given = given_variables()
        rooms: dict[str, Any] = {}
        conflicts = []
        for flat, (room, field) in FLAT_NAMES.items():
            if flat not in given:
                continue
            name = variable_of(room, field)
            if given.get(name, given[flat]) != given[flat]:
                conflicts.append(
                    f"{name} is {given[name]!r}, but {flat}, its older name, is {given[flat]!r}: "
                    "set only one of them"
                )
            rooms.setdefault(room, {})[field] = given[flat]
        if conflicts:
            raise SettingsError("\n".join(conflicts))
        return rooms

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return one room's values, as pydantic-settings requires of a source."""
        return self().get(field_name), field_name, True
