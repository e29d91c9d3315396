"""What Locust loads: the scenario that LOADTEST_SCENARIO names, and the shape of LOADTEST_SHAPE."""

from __future__ import annotations

import importlib
import os

from locust import User

from loadtests import shapes

scenario = importlib.import_module(f"loadtests.scenarios.{os.environ.get('LOADTEST_SCENARIO', 'mixed')}")

globals().update(
    {
        name: found
        for name, found in vars(scenario).items()
        if isinstance(found, type) and issubclass(found, User) and not found.abstract
    }
)

if (shape := shapes.chosen()) is not None:

    class Shape(shape):  # type: ignore[valid-type,misc]
        """The chosen one: Locust takes the one that is not abstract."""

        abstract = False
