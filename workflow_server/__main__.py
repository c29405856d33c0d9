"""``python -m workflow_server`` is the command ``workflow-server``."""

from workflow_server.cli.main import main

if __name__ == "__main__":
    main(prog_name="workflow-server")
