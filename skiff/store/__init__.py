"""Revisions of bytes under keys (MVCC), behind one Protocol."""
