"""Container logs as the runtime writes them, and lines of them as users see them. Pure.

A line is `<RFC 3339 time, nanoseconds> <stdout|stderr> <P|F> <content>`; P marks a part of a longer
line, which goes on in the next entry of that stream.

Source: https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs

_TIME_LENGTH = len("2006-01-02T15:04:05.000000000")


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What part of a log is wanted. `tail_lines` and `limit_bytes` -1: all; `since` Unix seconds."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int = -1
    limit_bytes: int = -1
    since: float = 0.0
    stream: str = ""


def parse_options(query: str, now: float) -> LogOptions:
    """The options in a request's query. Raises ValueError."""
    values = {k: v[0] for k, v in parse_qs(query, keep_blank_values=True).items()}

    def flag(name: str) -> bool:
        return name in values and values[name].lower() not in ("false", "0")

    tail = values.get("tail", values.get("tailLines", ""))
    since = 0.0
    if values.get("sinceSeconds"):
        since = now - int(values["sinceSeconds"])
    elif values.get("sinceTime"):
        since = datetime.fromisoformat(values["sinceTime"]).timestamp()
    stream = values.get("stream", "")
    if stream not in ("", "All", "Stdout", "Stderr"):
        raise ValueError(f"stream {stream}")
    return LogOptions(
        follow=flag("follow"),
        previous=flag("previous"),
        timestamps=flag("timestamps"),
        tail_lines=-1 if tail in ("", "all") else int(tail),
        limit_bytes=int(values.get("limitBytes") or -1),
        since=since,
        stream="" if stream == "All" else stream.lower(),
    )


class LogFilter:
    """Turns entries into output, whole lines of bytes in, bytes out. Keeps the count of what was
    written and, per stream, whether a line is under way."""

    def __init__(self, options: LogOptions) -> None:
        self._timestamps = options.timestamps
        self._stream = options.stream.encode()
        self._since = _time_key(options.since) if options.since else b""
        self._left = options.limit_bytes
        self._partial: dict[bytes, bool] = {}
        self.done = options.limit_bytes == 0

    def feed(self, entries: bytes) -> bytes:
        """The output of some whole entries; entries that are malformed are skipped. Sets `done` once
        the byte limit is reached."""
        out = []
        for entry in (
            entries.splitlines(keepends=False) if b"\r" not in entries else _lines(entries)
        ):
            parts = entry.split(b" ", 3)
            if len(parts) < 3:
                continue
            time, stream, tags = parts[:3]
            content = parts[3] if len(parts) > 3 else b""
            if stream not in (b"stdout", b"stderr") or (self._stream and stream != self._stream):
                continue
            if self._since and time < self._since:
                continue
            if self._timestamps and not self._partial.get(stream):
                out.append(_fixed(time) + b" ")
            out.append(content)
            partial = tags.split(b":", 1)[0] == b"P"
            self._partial[stream] = partial
            if not partial:
                out.append(b"\n")
        return self._limited(b"".join(out))

    def _limited(self, data: bytes) -> bytes:
        if self._left < 0:
            return data
        data = data[: self._left]
        self._left -= len(data)
        self.done = self._left == 0
        return data


def _lines(entries: bytes) -> list[bytes]:
    """Entries by newline alone: a carriage return is content."""
    lines = entries.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _time_key(seconds: float) -> bytes:
    """`seconds` so that it compares with entries' times (which runtimes write in UTC)."""
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return text.encode()


def _fixed(time: bytes) -> bytes:
    """An entry's time with exactly nine decimals."""
    if len(time) == _TIME_LENGTH + 1:
        return time
    zone = b"Z" if time.endswith(b"Z") else time[-6:]
    head, _, decimals = time[: -len(zone)].partition(b".")
    return head + b"." + decimals.ljust(9, b"0")[:9] + zone


def entry(time: float, stream: str, content: bytes, *, partial: bool = False) -> bytes:
    """One entry, as a runtime writes it."""
    stamp = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
    return f"{stamp} {stream} {'P' if partial else 'F'} ".encode() + content + b"\n"
