"""What the API counts about itself, in the text format that Prometheus reads."""

import threading
from collections import Counter
from collections.abc import Mapping

_HELP = {
    "mulan_requests_total": ("counter", "Requests answered, by route, method and status."),
    "mulan_request_seconds_total": ("counter", "Seconds spent on them, by route and method."),
    "mulan_tracks": ("gauge", "Tracks of the index."),
    "mulan_windows": ("gauge", "Windows of the index."),
}


class Counters:
    """Counts requests and their seconds; for several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: dict[tuple[str, str], float] = {}

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request more; `route` and `method` are of the API's own, never what a client made up."""
        with self._lock:
            self._requests[route, method, status] += 1
            self._seconds[route, method] = self._seconds.get((route, method), 0.0) + seconds

    def text(self, gauges: Mapping[str, float]) -> str:
        """All counts and the gauges given, by the names of `_HELP`."""
        with self._lock:
            requests, seconds = dict(self._requests), dict(self._seconds)
        samples = {name: [f"{name} {value:g}"] for name, value in gauges.items()}
        samples["mulan_requests_total"] = [
            f'mulan_requests_total{{route="{route}",method="{method}",status="{status}"}} {count}'
            for (route, method, status), count in sorted(requests.items())
        ]
        samples["mulan_request_seconds_total"] = [
            f'mulan_request_seconds_total{{route="{route}",method="{method}"}} {value:.6f}'
            for (route, method), value in sorted(seconds.items())
        ]
        lines = []
        for name, (kind, meaning) in _HELP.items():
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *samples.get(name, [])]
        return "\n".join(lines) + "\n"
