"""The contract of ``store/base.py`` as tests that every store passes, by nothing but that contract.

A new store is entered in ``stores.py``.
"""
