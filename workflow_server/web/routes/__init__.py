"""The routes: one module for each part of the API, and the table of all."""
