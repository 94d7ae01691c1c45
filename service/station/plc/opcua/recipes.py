"""Recipes: their ids, and the methods of RecipeManagement."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asyncua import ua

from service.station.machine.images import StationImage
from service.station.machine.states import Command, CommandResult, State
from service.station.plc.opcua.events import Events, extension
from service.station.plc.opcua.methods import OUTCOME_OF, Methods, Outcome, id_of, outcome
from service.station.plc.opcua.vision import Vision, structure
from service.station.plc.requester import Requester
from service.station.settings import RecipeSettings

_LONGEST_WAIT_S = 2.0
_NO_RECIPE = 0
_PREPARED_ONLY, _NOT_PREPARED_ONLY = 1, 0
"""Values of TriStateBooleanDataType; any other does not filter."""
_PATH = "RecipeManagement"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe of `station.yaml`; number 0 is no recipe."""

    number: int
    name: str = ""
    sha256: str = ""

    def external_id(self) -> Any:  # noqa: ANN401
        """Return the number, with the name as its description."""
        return structure("RecipeIdExternalDataType", Id=self._id, Description=self._description)

    def internal_id(self) -> Any:  # noqa: ANN401
        """Return the number, with a hash of the recipe's categories."""
        return structure(
            "RecipeIdInternalDataType",
            Id=self._id,
            Hash=bytes.fromhex(self.sha256) or None,
            HashAlgorithm="SHA-256" if self.sha256 else None,
            Description=self._description,
        )

    @property
    def _id(self) -> str:
        return str(self.number) if self.number else ""

    @property
    def _description(self) -> ua.LocalizedText | None:
        return ua.LocalizedText(self.name) if self.name else None


def recipes_of(settings: Mapping[int, RecipeSettings]) -> dict[int, Recipe]:
    """Return the recipes by number."""
    recipes = {}
    for number, recipe in sorted(settings.items()):
        content = json.dumps(recipe.categories, sort_keys=True).encode()
        recipes[number] = Recipe(number, recipe.name, hashlib.sha256(content).hexdigest())
    return recipes


class Recipes:
    """Answers RecipeManagement, and reports a prepared recipe."""

    def __init__(
        self, vision: Vision, events: Events, requester: Requester, recipes: Mapping[int, Recipe]
    ) -> None:
        self._vision = vision
        self._events = events
        self._requester = requester
        self._recipes = recipes
        self._preparing: asyncio.Task[CommandResult] | None = None
        self._prepared = 0

    async def link(self, methods: Methods) -> None:
        """Answer the methods."""
        await methods.link(f"{_PATH}.PrepareRecipe", self._prepare, commands=True)
        await methods.link(f"{_PATH}.UnprepareRecipe", self._unprepare, commands=True)
        await methods.link(f"{_PATH}.GetRecipeListFiltered", self._list, commands=False)
        await methods.link(f"{_PATH}.ReleaseRecipeHandle", self._release, commands=False)

    async def close(self) -> None:
        """Cancel a preparation that somebody waits for."""
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.gather(self._preparing, return_exceptions=True)

    @property
    def prepared(self) -> int:
        """The number of the recipe that was shown as prepared; 0 for none."""
        return self._prepared

    def find(self, *ids: Any) -> Recipe | None:  # noqa: ANN401
        """Return the recipe that the ids name, by number or name; None for none or several."""
        texts = {text for text in map(id_of, ids) if text}
        numbers = {recipe.number for text in texts for recipe in self._named(text)}
        is_one = len(numbers) == 1 and all(self._named(text) for text in texts)
        return self._recipes[numbers.pop()] if is_one else None

    def _named(self, text: str) -> list[Recipe]:
        by_number = [recipe for recipe in self._recipes.values() if str(recipe.number) == text]
        return by_number or [recipe for recipe in self._recipes.values() if recipe.name == text]

    async def show(self, image: StationImage) -> None:
        """Report a recipe that has just been prepared."""
        prepared = image.recipe if image.state is not State.INITIALIZED else 0
        before, self._prepared = self._prepared, prepared
        if not prepared or prepared == before:
            return
        recipe = self._recipes[prepared]
        await self._events.send(
            "RecipePreparedEventType",
            self._vision.node_id(_PATH),
            f"recipe {prepared} is prepared",
            ExternalId=extension(recipe.external_id()),
            InternalId=extension(recipe.internal_id()),
            ProductId=extension(structure("ProductIdDataType")),
        )

    async def _prepare(self, external: Any, internal: Any) -> Sequence[ua.Variant]:  # noqa: ANN401
        """Prepare a recipe; one that takes longer ends with a RecipePreparedEvent.

        One that does not exist ends the prepared one, as through every door: a client that does
        not look at the error must not go on with the recipe before.
        """
        recipe = self.find(external, internal)
        if self._requester.is_commanded:
            return self._prepared_outputs(None, Outcome.BUSY)
        if recipe is None:
            await self._requester.command(Command.PREPARE_RECIPE, _NO_RECIPE)
            return self._prepared_outputs(None, Outcome.UNKNOWN_RECIPE)
        self._preparing = asyncio.create_task(
            self._requester.command(Command.PREPARE_RECIPE, recipe.number)
        )
        done, _ = await asyncio.wait([self._preparing], timeout=_LONGEST_WAIT_S)
        if not done:
            return self._prepared_outputs(recipe, Outcome.OK, is_completed=False)
        result = OUTCOME_OF[self._preparing.result()]
        return self._prepared_outputs(recipe, result, is_completed=result is Outcome.OK)

    async def _unprepare(self, external: Any, internal: Any) -> Sequence[ua.Variant]:  # noqa: ANN401
        recipe = self.find(external, internal)
        if recipe is None or recipe.number != self._requester.image.recipe:
            return self._internal(None), outcome(Outcome.UNKNOWN_RECIPE)
        result = await self._requester.command(Command.UNPREPARE_RECIPE)
        return self._internal(recipe), outcome(OUTCOME_OF[result])

    async def _list(
        self,
        external: Any,  # noqa: ANN401
        product: Any,  # noqa: ANN401
        is_prepared: int,
        max_results: int,
        start: int,
        _timeout: int,
    ) -> Sequence[ua.Variant]:
        recipes = [] if id_of(product) else list(self._recipes.values())
        if text := id_of(external):
            recipes = [recipe for recipe in recipes if recipe in self._named(text)]
        if is_prepared in (_PREPARED_ONLY, _NOT_PREPARED_ONLY):
            active = self._requester.image.recipe
            recipes = [r for r in recipes if (r.number == active) == bool(is_prepared)]
        page = recipes[start : start + max_results if max_results else None]
        return (
            ua.Variant(start + len(page) >= len(recipes), ua.VariantType.Boolean),
            ua.Variant(len(page), ua.VariantType.UInt32),
            ua.Variant(0, ua.VariantType.UInt32),
            extension([recipe.internal_id() for recipe in page]),
            outcome(Outcome.OK),
        )

    async def _release(self, _handle: int) -> Sequence[ua.Variant]:
        return (outcome(Outcome.OK if _handle == 0 else Outcome.UNKNOWN_ID),)

    def _prepared_outputs(
        self, recipe: Recipe | None, result: Outcome, *, is_completed: bool = False
    ) -> Sequence[ua.Variant]:
        completed = ua.Variant(is_completed, ua.VariantType.Boolean)
        return self._internal(recipe), completed, outcome(result)

    def _internal(self, recipe: Recipe | None) -> ua.Variant:
        return extension((recipe or Recipe(0)).internal_id())
