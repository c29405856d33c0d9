"""The web UI: pages that this server alone serves."""
