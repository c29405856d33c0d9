"""Tests of the store: the contract and group commit, which know no database; those of a database in its folder."""
