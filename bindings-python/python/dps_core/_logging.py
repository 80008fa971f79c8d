"""Hands the core's diagnostics to ``logging``, on a thread of its own."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    _Record = tuple[int, str, str, float]


def serve(next_records: Callable[[], list[_Record]]) -> None:
    while True:
        emit(next_records())


def level() -> int:
    """The least level that ``dps_core`` or a logger below it wants."""
    import logging

    known = list(logging.root.manager.loggerDict.items())
    below = [it for name, it in known if name.startswith("dps_core.")]
    loggers = [logging.getLogger("dps_core")]
    loggers += [it for it in below if isinstance(it, logging.Logger)]
    return min(logger.getEffectiveLevel() for logger in loggers)


def emit(records: Iterable[_Record]) -> None:
    import logging

    for level, name, message, created in records:
        logger = logging.getLogger(name)
        if logger.isEnabledFor(level):
            record = logger.makeRecord(name, level, "", 0, message, (), None)
            record.created = created
            record.msecs = (created - int(created)) * 1000
            try:
                logger.handle(record)
            except Exception:
                # A filter's or a handler's own: the records after this one are still to be told.
                if logging.raiseExceptions:
                    import traceback

                    traceback.print_exc()
