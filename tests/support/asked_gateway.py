"""For tests that query a gateway in this process, in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
from gateway_app import App, gateway_app


def run(
    test: Callable[[App, httpx.AsyncClient], Coroutine[Any, Any, None]], folder: Path, data_dir: Path, **options: Any
) -> None:
    """Run a test in the event loop."""

    async def all_of_it() -> None:
        async with asyncio.timeout(90), gateway_app(folder, data_dir, **options) as app, app.client() as client:
            await test(app, client)

    asyncio.run(all_of_it())
