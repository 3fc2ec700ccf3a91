"""Recipes: what a job's output should be like, beside its codec.

Laws:
- A recipe is checked before its job is accepted, and stored with the job. A recipe that was named
  is stored with all that the name stood for, so that a later change of it changes no job.
- What a recipe does not say is as without a recipe.
- A recipe asks for abilities. Only engines that have told all of them get its job, so that an
  engine that knows nothing of recipes gets none.
"""

from dispatcher.recipes.codecs import AUDIO_CODECS, RATES, VIDEO_CODECS, Rates
from dispatcher.recipes.contradictions import check
from dispatcher.recipes.reading import MAX_BYTES, recipe_of, stored_recipe
from dispatcher.recipes.recipe import (
    RECIPES,
    WAYS,
    Audio,
    Clip,
    Container,
    Recipe,
    Speed,
    Subtitles,
)
from dispatcher.recipes.wording import RecipeError

__all__ = [
    "AUDIO_CODECS",
    "MAX_BYTES",
    "RATES",
    "RECIPES",
    "VIDEO_CODECS",
    "WAYS",
    "Audio",
    "Clip",
    "Container",
    "Rates",
    "Recipe",
    "RecipeError",
    "Speed",
    "Subtitles",
    "check",
    "recipe_of",
    "stored_recipe",
]
