"""Is a write-ahead log whole? What SQLite does not say when it recovers one. Pure.

SQLite reads a log up to the first frame whose checksum is wrong and takes the rest for the torn
end of an interrupted write, or the whole for empty if the header is wrong. That is right for a torn end,
but the same thing happens to damage in the middle: acknowledged writes behind it would vanish
without a word. The two can be told apart, because the writer begins a transaction only when the
one before is synced: where the damage is followed by a whole transaction's end *and* by more frames
of the same generation (the log's salt), it struck what had been synced.

Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

import struct
from collections.abc import Callable

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
_MAGIC = (0x377F0682, 0x377F0683)  # the last bit: checksums are over big-endian words
_WORD = 0xFFFFFFFF

Read = Callable[[int, int], bytes]
"""Bytes at (offset, length); fewer at the file's end."""


def damage(read: Read, size: int, page_bytes: int, valid_frames: int) -> str:
    """What is wrong with a log of `size` bytes of which SQLite recovered `valid_frames`; "" if
    nothing is, a torn end included."""
    if size <= HEADER_BYTES:
        return ""  # the header itself is synced before any frame follows
    header = read(0, HEADER_BYTES)
    if not _header_holds(header, page_bytes):
        return "its header is damaged"
    salt = header[16:24]
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    ended = False  # a transaction has ended at or behind the first frame that was not recovered
    for offset in range(
        HEADER_BYTES + valid_frames * frame_bytes, size - FRAME_HEADER_BYTES + 1, frame_bytes
    ):
        frame = read(offset, FRAME_HEADER_BYTES)
        if frame[8:16] != salt:
            continue
        if ended:
            return f"frame {valid_frames + 1} is damaged, and whole transactions follow it"
        ended = frame[4:8] != b"\0\0\0\0"  # the database's size in pages: set in a last frame only
    return ""


def _header_holds(header: bytes, page_bytes: int) -> bool:
    magic, version, page, *_ = struct.unpack(">8I", header)
    if magic not in _MAGIC or version != 3007000 or page != page_bytes:
        return False
    words = struct.unpack(f"{'>' if magic & 1 else '<'}6I", header[:24])
    first = second = 0
    for i in range(0, 6, 2):
        first = (first + words[i] + second) & _WORD
        second = (second + words[i + 1] + first) & _WORD
    return (first, second) == struct.unpack(">2I", header[24:])
