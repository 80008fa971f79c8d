"""Calls signers, on threads that Python made: see ``src/signer.rs``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future

    from ._dps_core import SignJob


def serve(next_job: Callable[[], SignJob | None]) -> None:
    while (job := next_job()) is not None:
        made = _make(job)
        # The next wait may be long, and the signer is the caller's.
        del job
        if not made:
            # The exception has this frame, which is to end with it. There are other threads.
            return


def _make(job: SignJob) -> bool:
    try:
        signature = job.signer.sign(job.request)
        if hasattr(signature, "__await__"):
            signature = _finish(signature, job)
        # Not bytes(signature): that would make zeros of a number.
        job.answer(memoryview(signature).tobytes())
    except BaseException as error:
        job.fail(f"{type(error).__name__}: {error}", error)
        return False
    return True


def _finish(awaitable: Awaitable[object], job: SignJob) -> object:
    """Waits for the end of the coroutine, in its event loop if that still runs. It is cancelled
    when nobody waits for the signature any more."""
    import asyncio

    async def finish() -> object:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(awaitable)
        ear, limit = job.ear, job.limit
        if ear is None or limit is None:
            return await task

        def give_up() -> None:
            # At once: it would be heard again and again.
            loop.remove_reader(ear)
            task.cancel()

        loop.add_reader(ear, give_up)
        late = loop.call_later(limit, give_up)
        try:
            return await task
        finally:
            late.cancel()
            loop.remove_reader(ear)

    event_loop: asyncio.AbstractEventLoop | None = job.event_loop
    if event_loop is not None and event_loop.is_running():
        return _result(asyncio.run_coroutine_threadsafe(finish(), event_loop), event_loop)
    return asyncio.run(finish())


def _result(future: Future[object], event_loop: asyncio.AbstractEventLoop) -> object:
    """What becomes of it, for as long as its event loop runs: one that was stopped does nothing
    more, and cancels nothing."""
    from concurrent.futures import TimeoutError

    while True:
        try:
            return future.result(timeout=1)
        except TimeoutError:
            # Since Python 3.11 the coroutine's own is of this class too.
            if future.done():
                return future.result()
            if not event_loop.is_running():
                future.cancel()
                raise RuntimeError("the signer's event loop has stopped") from None
