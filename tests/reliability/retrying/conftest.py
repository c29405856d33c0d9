"""Managers on real stores."""

from __future__ import annotations

from tests.harness.managing import database, managing

__all__ = ["database", "managing"]
