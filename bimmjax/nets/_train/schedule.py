"""The learning rate as training goes on, and when to stop."""

from __future__ import annotations

from typing import NamedTuple

from bimmjax.nets._train.recipe import Recipe


class Course(NamedTuple):
    """What has been reached after some epochs."""

    epoch: int = 0
    best: float | None = None
    """Lowest validation loss (training loss where nothing is validated)."""
    best_epoch: int = 0
    waited: int = 0
    """Epochs since the learning rate fell, or since the best."""
    reductions: int = 0
    seconds: float = 0.0
    """Spent, all epochs together."""

    def after(self, loss: float, recipe: Recipe, seconds: float = 0.0) -> Course:
        """One epoch later, which took so many seconds.

        Examples
        --------
        >>> recipe = Recipe("unet", 2, schedule="plateau", patience=2)
        >>> course = Course()
        >>> for loss in (1.0, 0.5, 0.6, 0.5):
        ...     course = course.after(loss, recipe)
        >>> course
        Course(epoch=4, best=0.5, best_epoch=2, waited=0, reductions=1, seconds=0.0)
        """
        epoch = self.epoch + 1
        later = self._replace(epoch=epoch, seconds=self.seconds + seconds)
        if self.best is None or loss < self.best:
            return later._replace(best=loss, best_epoch=epoch, waited=0)
        waited = self.waited + 1
        if recipe.schedule == "plateau" and waited >= recipe.patience:
            return later._replace(waited=0, reductions=self.reductions + 1)
        return later._replace(waited=waited)

    def over(self, recipe: Recipe) -> bool:
        """Whether epochs or minutes are used up, or no better epoch is to be expected."""
        return self.why(recipe) is not None

    def why(self, recipe: Recipe) -> str | None:
        """The setting that ends the run: "epochs", "minutes" or "stop"; None while it goes on.

        Examples
        --------
        >>> Course(epoch=3, seconds=61.0).why(Recipe("unet", 2, minutes=1.0))
        'minutes'
        """
        if self.epoch >= recipe.epochs:
            return "epochs"
        if self.seconds >= 60.0 * recipe.minutes > 0.0:
            return "minutes"
        return "stop" if self.epoch - self.best_epoch >= recipe.stop > 0 else None


def rate(recipe: Recipe, course: Course, step: int) -> float:
    """The learning rate of a step, counted from 0 within the epoch that follows `course`.

    Examples
    --------
    >>> recipe = Recipe("unet", 2, learning_rate=1.0, epochs=4, steps=2)
    >>> [round(rate(recipe, Course(epoch), 1), 3) for epoch in range(4)]
    [1.0, 1.0, 0.775, 0.325]
    """
    if recipe.schedule == "plateau":
        return recipe.learning_rate * recipe.factor**course.reductions
    if recipe.schedule == "constant":
        return recipe.learning_rate
    done = (course.epoch + step / recipe.steps) / recipe.epochs
    if recipe.minutes:
        done = max(done, min(course.seconds / (60.0 * recipe.minutes), 1.0))
    fallen = max(done - recipe.hold, 0.0) / max(1.0 - recipe.hold, 1e-12)
    return recipe.learning_rate * (1.0 - (1.0 - recipe.final_rate) * fallen)
