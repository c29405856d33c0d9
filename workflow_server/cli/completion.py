"""``workflow-server completion``: the script with which a shell completes the command."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "workflow-server"
VARIABLE = "_WORKFLOW_SERVER_COMPLETE"
"""The variable with which the script calls the command; click derives the same name from the program's."""

HELP = """Print the script that completes this command in SHELL: bash (4.4 or newer), zsh or fish.

\b
bash: workflow-server completion bash > ~/.local/share/bash-completion/completions/workflow-server
zsh:  workflow-server completion zsh > FOLDER/_workflow-server    (a FOLDER of $fpath)
fish: workflow-server completion fish > ~/.config/fish/completions/workflow-server.fish
"""


@click.command(help=HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Run ``workflow-server completion``."""
    shell_completion = get_completion_class(shell)
    if shell_completion is None:  # pragma: no cover - click has all three
        raise click.UsageError(f"No completion for {shell}")
    # `source_vars` and the template are all of the script: `source()` would run bash to see how old it is.
    made = shell_completion(context.find_root().command, {}, PROGRAM, VARIABLE)
    click.echo(made.source_template % made.source_vars())
