"""A store's file: what is in it, and how it is opened, checked, written and bounded.

One table, the log: a row a write, in order of revision. The newest row of a key is its live value;
rows that nothing needs any more are deleted as history is compacted, and SQLite uses their
pages again. A write is so one row at the end of the table: one or two pages in the write-ahead log
and one sync. Every row carries a checksum.

Opening looks before it touches: marker, header, log (see `wal`), SQLite's own check of
all pages, each row's checksum, and that no revision is missing. Until all of that holds, nothing is
written, and on the way out neither (SQLite would otherwise empty the log into a damaged file).

All calls may block; one thread at a time.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw

from skiff.store import wal
from skiff.store.marker import CLOSED, NEW, OPEN, OPENING, Marker, sync_directory
from skiff.store.mvcc import Row
from skiff.store.protocol import FIRST_REVISION, Corrupt, Failed, Incompatible, Locked, StoreError

APPLICATION_ID = 0x536B6646  # "SkfF"
FORMAT = 1
PAGE_BYTES = 8192
"""Three 2 KB rows to a page; half the log that 16 KB pages would need for a single write."""

CHECKPOINT_PAGES = 1024
"""Copy the log into the database when it has grown by this (8 MiB: some 5 ms); the log then begins anew,
so that its size stays near this."""

STATEMENT_ROWS = 64
"""Rows in one INSERT. A batch up to this is one statement, hence one round through SQLite without
the interpreter's lock, the sync included."""

_SCHEMA = {
    "log": "CREATE TABLE log (revision INTEGER PRIMARY KEY, key TEXT NOT NULL, "
    "created INTEGER NOT NULL, crc INTEGER NOT NULL, value BLOB)",
    "meta": "CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), "
    "compacted INTEGER NOT NULL, opened INTEGER NOT NULL, crc INTEGER NOT NULL)",
}
_INSERT = "INSERT INTO log (revision, key, created, crc, value) VALUES "
_DELETE = "DELETE FROM log WHERE revision IN (SELECT value FROM json_each(?))"
_ADVICE = "Nothing was changed. Restore the data directory from a backup"


class Database:
    """An open store file. `compacted` is the newest revision whose history the file has let go."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`; create it if it is new and its directory exists. Raises Corrupt,
        Incompatible, Locked, Failed."""
        self.path = path
        self._log = Path(f"{path}-wal")
        try:
            self._marker = Marker(path)
        except OSError as e:
            raise Failed(f"{path} cannot be opened: {e}") from e
        try:
            if self._is_new():
                _create(path)
            self._check_header()
            self._check_log_is_there()
            with _translated(path):
                self._connection = _connect(path)
        except OSError as e:
            self._marker.release()
            raise Failed(f"{path} cannot be opened: {e}") from e
        except StoreError:
            self._marker.release()
            raise
        try:
            with _translated(path):
                self._check()
                self.compacted, self._opened = self._read_meta()
        except StoreError:
            self.abandon()
            raise
        self._pages = 0

    def rows(self) -> Iterator[Row]:
        """Every row in ascending revision. Raises Corrupt at a row that is not what was written."""
        with _translated(self.path):
            for revision, key, created, crc, value in self._connection.execute(
                "SELECT revision, key, created, crc, value FROM log ORDER BY revision"
            ):
                row = Row(revision, key, created, value)
                if not isinstance(key, str) or crc != _row_crc(row):
                    raise self._corrupt(f"the checksum of revision {revision} does not match")
                yield row

    def take_over(self) -> None:
        """Begin to write: from here on the file changes. The log begins anew, so that frames of an
        earlier life never lie behind those of this one (see `wal`)."""
        with _translated(self.path):
            self._marker.set(OPENING)
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._opened += 1
            self._write_meta()
            sync_directory(self.path)
            self._marker.set(OPEN)

    def write(self, rows: Sequence[Row], obsolete: Sequence[int], compacted: int) -> None:
        """In one transaction: add `rows`, delete the rows of the revisions `obsolete`, and note that
        history up to `compacted` is gone (if that is news). Durable on return. Raises Failed."""
        with _translated(self.path):
            if compacted <= self.compacted and len(rows) <= STATEMENT_ROWS:
                if rows:
                    self._insert(rows)
                return
            self._connection.execute("BEGIN")
            for i in range(0, len(rows), STATEMENT_ROWS):
                self._insert(rows[i : i + STATEMENT_ROWS])
            if compacted > self.compacted:
                if obsolete:
                    self._connection.execute(_DELETE, (f"[{','.join(map(str, obsolete))}]",))
                self.compacted = compacted
                self._write_meta()
            self._connection.execute("COMMIT")

    def due(self) -> bool:
        """Whether the log has grown enough for a checkpoint. Raises Failed."""
        with _translated(self.path):
            written, _ = self._connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)
            return bool(written - self._pages >= CHECKPOINT_PAGES)

    def checkpoint(self) -> None:
        """Copy the log into the database if that is due. Raises Failed."""
        with _translated(self.path):
            written, _ = self._connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)
            if written - self._pages >= CHECKPOINT_PAGES:
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                self._pages = written

    def close(self) -> None:
        """Leave the file complete without its log. Raises Failed."""
        with _translated(self.path):
            self._marker.set(CLOSED)
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self.abandon()

    def abandon(self) -> None:
        """Let go of the file as it is: the log stays, and is recovered when it is opened next."""
        self._connection.close(force=True)
        self._marker.release()

    def _is_new(self) -> bool:
        if self.path.exists():
            return False
        if self._marker.state == NEW and not self._log.exists():
            return True
        witness = self._log if self._log.exists() else self._marker.path
        raise Corrupt(
            f"{self.path} is missing, though {witness} shows that it existed. {_ADVICE}; "
            f"or, to begin with an empty store and lose what it held, remove {witness} too"
        )

    def _check_header(self) -> None:
        """The file's first bytes, read without SQLite: it takes an empty file for a new database."""
        with self.path.open("rb") as file:
            header = file.read(100)
        if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
            raise self._corrupt("it does not begin like a database")
        page_bytes, version = struct.unpack_from(">H", header, 16)[0], header[60:64]
        if int.from_bytes(header[68:72]) != APPLICATION_ID:
            raise Incompatible(f"{self.path} is a database, but not of Skiff's store")
        if int.from_bytes(version) != FORMAT:
            raise Incompatible(
                f"{self.path} is written in format {int.from_bytes(version)}, and this version of "
                f"Skiff knows format {FORMAT} only: use the version that wrote it"
            )
        if page_bytes != PAGE_BYTES or header[18:20] != b"\2\2":
            raise self._corrupt("its header is damaged")

    def _check(self) -> None:
        connection = self._connection
        if dict(connection.execute("SELECT name, sql FROM sqlite_schema")) != _SCHEMA:
            raise self._corrupt("its tables are not those of a store")
        valid_frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        self._check_log(max(valid_frames, 0))
        found = [text for (text,) in connection.execute("PRAGMA quick_check(3)")]
        if found != ["ok"]:
            raise self._corrupt("; ".join(map(str, found)))

    def _check_log_is_there(self) -> None:
        """Before SQLite makes an empty one."""
        if self._marker.state == OPEN and (
            not self._log.exists() or self._log.stat().st_size < wal.HEADER_BYTES
        ):
            raise self._corrupt(f"its log {self._log} is missing or cut off")

    def _check_log(self, valid_frames: int) -> None:
        log = self._log
        if not log.exists():
            return
        fd = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
        try:
            wrong = wal.damage(
                lambda offset, length: os.pread(fd, length, offset),
                os.fstat(fd).st_size,
                PAGE_BYTES,
                valid_frames,
            )
        finally:
            os.close(fd)
        if wrong:
            raise self._corrupt(f"of its log {log}, {wrong}")

    def _read_meta(self) -> tuple[int, int]:
        for compacted, opened, crc in self._connection.execute(
            "SELECT compacted, opened, crc FROM meta"
        ):
            if crc == _meta_crc(compacted, opened):
                return compacted, opened
        raise self._corrupt("the record of its history does not match its checksum")

    def _write_meta(self) -> None:
        values = (self.compacted, self._opened, _meta_crc(self.compacted, self._opened))
        self._connection.execute("REPLACE INTO meta VALUES (1, ?, ?, ?)", values)

    def _insert(self, rows: Sequence[Row]) -> None:
        values: list[int | str | bytes | None] = []
        for row in rows:
            values += (row.revision, row.key, row.created, _row_crc(row), row.value)
        self._connection.execute(_INSERT + ",".join(["(?,?,?,?,?)"] * len(rows)), values)

    def _corrupt(self, what: str) -> Corrupt:
        return Corrupt(f"{self.path} is damaged: {what}. {_ADVICE}")


class _translated:  # noqa: N801 - reads as a word in `with`
    """Turns SQLite's and the system's errors into the store's."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, apsw.CorruptError | apsw.NotADBError | UnicodeDecodeError):
            raise Corrupt(f"{self._path} is damaged: {error}. {_ADVICE}") from error
        if isinstance(error, apsw.BusyError | apsw.LockedError):
            raise Locked(
                f"{self._path} is in use by another program: stop that, or use another file"
            ) from error
        if isinstance(error, apsw.FullError):
            raise Failed(
                f"{self._path} cannot grow: {error}. Free some space, then start again"
            ) from error
        if isinstance(error, apsw.Error | OSError):
            raise Failed(f"{self._path}: {error}. Check the disk, then start again") from error


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=96)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.wal_autocheckpoint(0)
    for setting in ("locking_mode=EXCLUSIVE", "synchronous=FULL", "cache_size=-2048"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def _create(path: Path) -> None:
    """Make an empty store beside `path` and move it there: it is there whole or not at all."""
    draft = path.with_name(path.name + ".new")
    for leftover in (draft, Path(f"{draft}-wal"), Path(f"{draft}-shm")):
        leftover.unlink(missing_ok=True)
    with _translated(path):
        connection = apsw.Connection(str(draft))
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT}")
        for sql in _SCHEMA.values():
            connection.execute(sql)
        meta = (FIRST_REVISION, 0, _meta_crc(FIRST_REVISION, 0))
        connection.execute("INSERT INTO meta VALUES (1, ?, ?, ?)", meta)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    draft.chmod(0o600)
    draft.rename(path)
    sync_directory(path)


def _row_crc(row: Row) -> int:
    head = zlib.crc32(f"{row.revision} {row.created} {row.key}\n".encode())
    return head if row.value is None else zlib.crc32(row.value, head)


def _meta_crc(compacted: int, opened: int) -> int:
    return zlib.crc32(f"{compacted} {opened}".encode())
