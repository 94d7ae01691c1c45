"""Passwords and secrets: in files or variables that a setting names, never in the settings."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from model.bounded import read_regular
from service.settings.environment import variable
from service.settings.room import RoomSettings

_MAX_BYTES = 64 * 2**10


class SecretUnreadable(ValueError):
    """The file or variable of a secret cannot be read, or is empty."""


class HasPassword(RoomSettings):
    """A model with a password."""

    password_file: Path | None = Field(None, description="file that holds the password alone")
    password_variable: str | None = Field(
        None, min_length=1, description="variable of the environment that holds the password"
    )

    @model_validator(mode="after")
    def _check_password(self) -> "HasPassword":
        check_one("password", self.password_file, self.password_variable)
        return self

    def password(self) -> SecretStr | None:
        """Read the password; None if there is none. Raises `SecretUnreadable`."""
        return read_secret(self.password_file, self.password_variable)


def check_one(name: str, file: Path | None, named_variable: str | None) -> None:
    """Raise `ValueError` if a secret is in a file and in a variable."""
    if file is not None and named_variable is not None:
        raise ValueError(f"expected {name}_file or {name}_variable, got both: remove one")


def read_secret(file: Path | None, named_variable: str | None) -> SecretStr | None:
    """Read a secret, without the line break at a file's end. Raises `SecretUnreadable`."""
    if file is not None:
        try:
            text = read_regular(file, _MAX_BYTES)[0].decode("utf-8").rstrip("\r\n")
        except OSError as error:
            raise SecretUnreadable(f"{file} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise SecretUnreadable(f"{file} cannot be read: expected UTF-8") from error
        place = str(file)
    elif named_variable is not None:
        text, place = variable(named_variable) or "", f"the variable {named_variable}"
    else:
        return None
    if not text:
        raise SecretUnreadable(f"{place} is empty or not set")
    return SecretStr(text)


def check_url(url: str, schemes: tuple[str, ...]) -> str:
    """Return a URL of one of the schemes; its password would appear in logs."""
    parts = urlsplit(url)
    if parts.scheme not in schemes:
        raise ValueError(f"expected a URL that begins with {schemes[0]}://")
    if parts.password is not None:
        raise ValueError("expected a URL without a password, which goes into a file of its own")
    return url
