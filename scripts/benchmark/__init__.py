"""Measurements of the server beside the bare engine, another build of this project, and its peers.

``scripts/bench`` is the command. Each workload of ``workloads.WORKLOADS`` is measured on each subject in turn, several
times over, so that whatever else the machine does falls on all of them alike.
"""
