"""`mlmake completion SHELL`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that completes commands, pipelines and steps in your shell.

    \b
    eval "$(mlmake completion bash)"       in ~/.bashrc
    eval "$(mlmake completion zsh)"        in ~/.zshrc
    mlmake completion fish > ~/.config/fish/completions/mlmake.fish
    """
    from mlmake.cli.main import cli

    completion = get_completion_class(shell)
    assert completion is not None
    click.echo(completion(cli, {}, "mlmake", "_MLMAKE_COMPLETE").source())
