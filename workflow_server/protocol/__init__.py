"""The wire: models of requests and responses, and JSON as it is accepted and written."""
