"""Cancellation: a loop that cancels at a chosen suspension, the operations of the store and the manager, and clients
that leave.
"""
