"""All examples in one server: ``workflow-server serve examples/app.py``."""

from document_review import document_review
from hello import hello
from nightly_batch import nightly_batch

__all__ = ["document_review", "hello", "nightly_batch"]
