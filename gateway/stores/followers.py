"""Who wants to know when a log grows."""

from collections.abc import Callable


class Followers:
    """Callbacks by stream."""

    def __init__(self) -> None:
        self._by_stream: dict[str, list[Callable[[], None]]] = {}

    def add(self, stream_id: str, changed: Callable[[], None]) -> Callable[[], None]:
        """One more; what is returned takes it away."""
        followers = self._by_stream.setdefault(stream_id, [])
        followers.append(changed)

        def leave() -> None:
            if changed in followers:
                followers.remove(changed)
            if not followers and self._by_stream.get(stream_id) is followers:
                del self._by_stream[stream_id]

        return leave

    def tell(self, stream_id: str) -> None:
        """Call all of a stream."""
        for changed in tuple(self._by_stream.get(stream_id, ())):
            changed()

    def has(self, stream_id: str) -> bool:
        """Whether a stream has any."""
        return stream_id in self._by_stream
