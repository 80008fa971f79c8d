"""Calls signers, on threads that Python made: see ``src/signer.rs``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from ._dps_core import SignJob


def serve(next_job: Callable[[], SignJob | None]) -> None:
    while (job := next_job()) is not None:
        _make(job)
        # The next wait may be long, and the signer is the caller's.
        del job


def _make(job: SignJob) -> None:
    try:
        signature = job.signer.sign(job.request)
        if hasattr(signature, "__await__"):
            signature = _finish(signature, job.event_loop)
        # Not bytes(signature): that would make zeros of a number.
        job.answer(memoryview(signature).tobytes())
    except BaseException as error:
        job.fail(f"{type(error).__name__}: {error}", error)


def _finish(awaitable: Awaitable[object], event_loop: asyncio.AbstractEventLoop | None) -> object:
    """Waits for the end of the coroutine, in its event loop if that still runs."""
    import asyncio

    async def finish() -> object:
        return await awaitable

    if event_loop is not None and event_loop.is_running():
        return asyncio.run_coroutine_threadsafe(finish(), event_loop).result()
    return asyncio.run(finish())
