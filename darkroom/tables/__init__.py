"""Delta Lake tables on a storage."""

from darkroom.tables.table import TARGET_BYTES, AddedFile, Table

__all__ = ["TARGET_BYTES", "AddedFile", "Table"]
