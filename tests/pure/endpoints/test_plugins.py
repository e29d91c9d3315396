"""What /gateway/plugins shows."""

from __future__ import annotations

import json

from fastgw.endpoints.plugins import Plugins
from tests.pure.asgi import Client, accepted, exchange
from tests.pure.loop import in_loop


@in_loop
async def test_each_stage_tells_of_itself_anew_in_the_order_of_a_request() -> None:
    facts = {"name": "rate-limit", "enabled": True, "state": "active"}
    plugins = Plugins([lambda: {"name": "authentication", "enabled": False, "state": "off"}, lambda: facts])
    facts["state"] = "degraded"
    client = Client()
    await plugins.show(accepted(exchange(client=client)))
    assert client.status == 200
    assert json.loads(client.body) == {"plugins": plugins.report()}
    assert [(stage["name"], stage["state"]) for stage in plugins.report()] == [
        ("authentication", "off"),
        ("rate-limit", "degraded"),
    ]
