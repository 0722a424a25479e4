"""The capture side: may use network, clock and keys; may import verify, never the reverse.

For applications: `Recorder`, which makes a bundle of each chat, and the transports beneath it,
`RecordingTransport` and `AsyncRecordingTransport`; loaded when asked for.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bundle.inprocess import AsyncRecordingTransport, RecordingTransport
    from bundle.recorder import Recorder, RecordingError, RecordingWarning

__all__ = [
    "AsyncRecordingTransport",
    "Recorder",
    "RecordingError",
    "RecordingTransport",
    "RecordingWarning",
]


def __getattr__(name: str) -> object:
    """Load a public name: importing the package alone must cost nothing."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    if name.endswith("RecordingTransport"):
        from bundle import inprocess  # noqa: PLC0415

        return getattr(inprocess, name)
    from bundle import recorder  # noqa: PLC0415

    return getattr(recorder, name)
