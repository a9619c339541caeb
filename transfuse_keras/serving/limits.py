"""How large a request may be, and how long it may take to arrive."""

import asyncio

from starlette.exceptions import HTTPException


class Limits:
    """ASGI middleware that refuses a body as soon as it is too large or too slow.

    Args:
        app: the ASGI application.
        largest: bytes of a body.
        seconds: from the first to the last byte.
    """

    def __init__(self, app, largest, seconds):
        self.app, self.largest, self.seconds = app, largest, seconds

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        claimed = int(dict(scope["headers"]).get(b"content-length", 0))
        deadline = asyncio.get_running_loop().time() + self.seconds
        count, more = 0, True

        async def limited():
            nonlocal count, more
            if not more:  # what comes now is the end of the connection
                return await receive()
            self.refuse_larger(claimed)
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                sentence = f"The request did not arrive within {self.seconds:g} s."
                raise HTTPException(408, sentence) from None
            count += len(message.get("body", b""))
            more = message.get("more_body", False)
            self.refuse_larger(count)
            return message

        await self.app(scope, limited, send)

    def refuse_larger(self, size):
        if size > self.largest:
            raise HTTPException(413, f"A request may have {self.largest / 2**20:g} MiB at most.")
