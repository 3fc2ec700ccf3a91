"""The route that lists the recipes that a submission can name."""

from typing import Any

from litestar import Request, get

from dispatcher.api.answers import Answer, json_answer
from dispatcher.api.auth import ANY_KEY
from dispatcher.api.requests import service_of
from dispatcher.api.routes import declared
from dispatcher.recipes import Recipe

__all__ = ["list_recipes"]


@get("/recipes", **declared(needs=ANY_KEY, answers={200: list[Recipe]}))
async def list_recipes(request: Request[Any, Any, Any]) -> Answer:
    """List the recipes that a job can name, in the order of the dispatcher's file of them."""
    return json_answer([recipe.wire() for recipe in service_of(request).recipes.values()])
