"""The functions of Aravis' C library that a camera needs, called by ctypes.

    library = load()
    camera = library.call("arv_camera_new", b"GV01")

`libaravis-0.8-0` of Debian is enough; neither PyGObject nor a compiler is needed.
"""

import ctypes
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_int64, c_size_t, c_uint, c_uint64
from ctypes import c_void_p as pointer
from functools import cache
from typing import Any

_ARAVIS = "libaravis-0.8.so.0"
_GLIB = "libglib-2.0.so.0"
_GOBJECT = "libgobject-2.0.so.0"


class AravisMissing(Exception):
    """The library is not installed."""


class AravisFailed(Exception):
    """The camera, or the way to it, refused a call."""


class _Error(ctypes.Structure):
    _fields_ = (("domain", ctypes.c_uint32), ("code", c_int), ("message", c_char_p))


_ERROR = POINTER(POINTER(_Error))

_FALLIBLE: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "arv_camera_new": (pointer, (c_char_p,)),
    "arv_camera_create_stream": (pointer, (pointer, pointer, pointer)),
    "arv_camera_get_payload": (c_uint, (pointer,)),
    "arv_camera_get_pixel_format_as_string": (c_char_p, (pointer,)),
    "arv_camera_set_pixel_format_from_string": (None, (pointer, c_char_p)),
    "arv_camera_set_exposure_time": (None, (pointer, c_double)),
    "arv_camera_set_gain": (None, (pointer, c_double)),
    "arv_camera_set_frame_rate": (None, (pointer, c_double)),
    "arv_camera_set_acquisition_mode": (None, (pointer, c_int)),
    "arv_camera_is_software_trigger_supported": (c_int, (pointer,)),
    "arv_camera_set_trigger": (None, (pointer, c_char_p)),
    "arv_camera_clear_triggers": (None, (pointer,)),
    "arv_camera_software_trigger": (None, (pointer,)),
    "arv_camera_start_acquisition": (None, (pointer,)),
    "arv_camera_stop_acquisition": (None, (pointer,)),
    "arv_camera_set_integer": (None, (pointer, c_char_p, c_int64)),
    "arv_camera_set_float": (None, (pointer, c_char_p, c_double)),
    "arv_camera_set_boolean": (None, (pointer, c_char_p, c_int)),
    "arv_camera_set_string": (None, (pointer, c_char_p, c_char_p)),
}
"""Results and arguments; each function has a `GError **` as its last argument."""

_SIMPLE: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "arv_camera_is_gv_device": (c_int, (pointer,)),
    "arv_camera_gv_set_stream_options": (None, (pointer, c_int)),
    "arv_buffer_new": (pointer, (c_size_t, pointer)),
    "arv_stream_push_buffer": (None, (pointer, pointer)),
    "arv_stream_try_pop_buffer": (pointer, (pointer,)),
    "arv_stream_timeout_pop_buffer": (pointer, (pointer, c_uint64)),
    "arv_buffer_get_status": (c_int, (pointer,)),
    "arv_buffer_get_data": (pointer, (pointer, POINTER(c_size_t))),
    "arv_buffer_get_image_width": (c_int, (pointer,)),
    "arv_buffer_get_image_height": (c_int, (pointer,)),
    "arv_buffer_get_image_pixel_format": (c_uint, (pointer,)),
    "arv_buffer_get_system_timestamp": (c_uint64, (pointer,)),
}


class Aravis:
    """The loaded library."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(_ARAVIS)
            self._glib = ctypes.CDLL(_GLIB)
            self._gobject = ctypes.CDLL(_GOBJECT)
        except OSError as error:
            raise AravisMissing(
                f"Aravis is not installed ({error}): apt-get install libaravis-0.8-0"
            ) from error
        self._glib.g_error_free.argtypes = [POINTER(_Error)]
        self._glib.g_error_free.restype = None
        self._gobject.g_object_unref.argtypes = [pointer]
        self._gobject.g_object_unref.restype = None
        self._gobject.g_object_set.argtypes = [pointer, c_char_p, c_int, pointer]
        self._gobject.g_object_set.restype = None
        for name, (result, arguments) in _FALLIBLE.items():
            self._declare(name, result, (*arguments, _ERROR))
        for name, (result, arguments) in _SIMPLE.items():
            self._declare(name, result, arguments)

    def call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401 - as C has it
        """Call a function that can fail. Raises `AravisFailed`."""
        error = POINTER(_Error)()
        result = getattr(self._library, name)(*arguments, byref(error))
        if error:
            message = error.contents.message.decode("utf-8", "replace")
            self._glib.g_error_free(error)
            raise AravisFailed(message)
        return result

    def simple(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401 - as C has it
        """Call a function that cannot fail."""
        return getattr(self._library, name)(*arguments)

    def data(self, buffer: int) -> bytes:
        """Return a copy of a buffer's bytes."""
        size = c_size_t()
        address = self.simple("arv_buffer_get_data", buffer, byref(size))
        return ctypes.string_at(address, size.value) if address else b""

    def set_property(self, instance: int, name: bytes, value: int) -> None:
        """Set a property of an object that is an integer or an enum."""
        self._gobject.g_object_set(instance, name, value, None)

    def release(self, instance: int) -> None:
        """Give an object back."""
        self._gobject.g_object_unref(instance)

    def _declare(self, name: str, result: Any, arguments: tuple[Any, ...]) -> None:  # noqa: ANN401
        function = getattr(self._library, name)
        function.restype = result
        function.argtypes = arguments


@cache
def load() -> Aravis:
    """Return the library. Raises `AravisMissing`."""
    return Aravis()
