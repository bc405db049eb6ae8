"""A plain client of an OpenAI-style streaming server: many streams from one process, little work per token."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from statistics import median
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class StreamResult:
    """What a client saw of all streams together: tokens a second after the first token, seconds to the first."""

    tokens: int
    tokens_per_s: float
    first_token_s: float


@dataclass(slots=True)
class _Stream:
    sent: float = 0.0
    first: float = 0.0
    last: float = 0.0
    tokens: int = 0


async def _one(url: str, token: str, body: dict[str, object]) -> _Stream:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1 << 20)
    data = json.dumps(body).encode()
    head = (
        f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    stream = _Stream(sent=time.perf_counter())
    writer.write(head.encode() + data)
    received = bytearray()
    while chunk := await reader.read(1 << 16):
        now = time.perf_counter()
        if b'"text":' in chunk:
            # An opening chunk without text may come first; an empty text carries no token yet.
            if not stream.first and b'"text":""' not in chunk:
                stream.first = now
            stream.last = now
        received += chunk
    writer.close()
    await writer.wait_closed()
    if not received.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(received[:2000].decode(errors="replace"))
    for line in received.split(b"\n"):
        if line.startswith(b"data: {") and b'"usage":{' in line.replace(b" ", b""):
            usage = json.loads(line[6:]).get("usage") or {}
            stream.tokens = usage.get("completion_tokens", stream.tokens)
    return stream


async def run_streams(
    url: str, token: str, model: str, prompts: list[str | list[int]], tokens: int
) -> StreamResult:
    """Ask for `tokens` tokens of each prompt at once, and read all streams to their end."""
    streams = await asyncio.gather(
        *(
            _one(
                url,
                token,
                {
                    "model": model,
                    "prompt": prompt,
                    "max_tokens": tokens,
                    "stream": True,
                    "stream_options": {"include_usage": True},
                    "temperature": 0.8,
                    "top_k": 40,
                    "top_p": 0.95,
                    "min_p": 0.05,
                    "repeat_penalty": 1.0,
                    "seed": 100 + number,
                },
            )
            for number, prompt in enumerate(prompts)
        )
    )
    total = sum(stream.tokens for stream in streams)
    if any(stream.tokens != tokens for stream in streams):
        raise RuntimeError(f"streams ended early: {[stream.tokens for stream in streams]}")
    begun = min(stream.first for stream in streams)
    seconds = max(stream.last for stream in streams) - begun
    return StreamResult(
        tokens=total,
        tokens_per_s=(total - len(streams)) / seconds,
        first_token_s=median(stream.first - stream.sent for stream in streams),
    )
