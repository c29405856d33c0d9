"""All examples in one server: ``workflow-server serve examples/app.py``.

The agent is included if llama-index-core is installed.
"""

from importlib.util import find_spec

from document_review import document_review
from hello import hello
from nightly_batch import nightly_batch

__all__ = ["document_review", "hello", "nightly_batch"]

if find_spec("llama_index") and find_spec("llama_index.core"):
    from agent import agent

    __all__ += ["agent"]
