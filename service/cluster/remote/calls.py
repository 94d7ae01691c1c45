"""Calls of several actors at once."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from ray.exceptions import RayError


async def call_all(
    methods: Mapping[str, Any], *arguments: object, within_s: float | None = None
) -> dict[str, Any]:
    """Return the answers of actors by name; of one that does not answer, the error.

    That is a `TimeoutError` if it says nothing, and a `RayError` if Ray knows that it cannot.
    """

    async def call(method: Any) -> object:  # noqa: ANN401
        try:
            return await asyncio.wait_for(_answer(method.remote(*arguments)), within_s)
        except (RayError, TimeoutError) as error:
            return error

    answers = await asyncio.gather(*(call(method) for method in methods.values()))
    return dict(zip(methods, answers, strict=True))


async def _answer(reference: Awaitable[object]) -> object:
    return await reference


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type."""
    return (str(error) or type(error).__name__).splitlines()[0]
