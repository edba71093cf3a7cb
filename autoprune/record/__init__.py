"""A study on disk, judged: its candidates, the front under any requirements, and the picks."""

from autoprune.record.front import Fall, Front
from autoprune.record.point import Point, all_names, columns
from autoprune.record.record import Record

__all__ = ["Fall", "Front", "Point", "Record", "all_names", "columns"]
