"""Databases that earlier builds wrote, taken up by this one."""
