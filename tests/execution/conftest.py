"""Managers on real stores."""

from __future__ import annotations

from tests.managing import database, managing

__all__ = ["database", "managing"]
