"""TARGET of the server processes: the workflows under the name by which the tests import them."""

from tests.upgrades.workflows import WORKFLOWS

workflows = WORKFLOWS
