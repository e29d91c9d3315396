"""What all scenarios need: users with a credential and an address of their own."""

from __future__ import annotations

import os
import random
from typing import Any

from locust import FastHttpUser, between

API_KEY = os.environ.get("LOADTEST_API_KEY", "")
"""Sent by every user, if the gateway asks for one."""

CLIENTS = int(os.environ.get("LOADTEST_CLIENTS", "0"))
"""From how many addresses requests come, each request from any of them; 0: each user has one of its own."""


def addresses(count: int) -> list[str]:
    """Addresses of 10.0.0.0/8, the same ones in every run: who splits traffic by them gives each run the same share."""
    draw = random.Random(7)  # noqa: S311
    return [".".join(["10", *(str(draw.randrange(1, 255)) for _ in range(3))]) for _ in range(count)]


EVERYBODY = addresses(CLIENTS)


class PlatformUser(FastHttpUser):
    """A client of the platform. Its address is one of 10.0.0.0/8, which a gateway believes from TRUSTED_PROXIES."""

    abstract = True
    wait_time = between(0.01, 0.1)
    connection_timeout = 10.0
    network_timeout = 30.0

    def on_start(self) -> None:
        """Take an address."""
        self.address = ".".join(["10", *(str(random.randrange(1, 255)) for _ in range(3))])  # noqa: S311

    @property
    def fields(self) -> dict[str, str]:
        """Of each request."""
        fields = {"X-Forwarded-For": random.choice(EVERYBODY) if EVERYBODY else self.address}  # noqa: S311
        if API_KEY:
            fields["X-API-Key"] = API_KEY
        return fields

    def read(self, path: str, name: str = "", *, expected: tuple[int, ...] = (200,)) -> Any:
        """GET; any other status than the expected ones is a failure."""
        with self.client.get(path, headers=self.fields, name=name or path, catch_response=True) as response:
            if response.status_code not in expected:
                response.failure(f"status {response.status_code}")
            else:
                response.success()
            return response
