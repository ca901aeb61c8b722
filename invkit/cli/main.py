"""The command line: prints and exit codes only. Results go to stdout, everything else to stderr."""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

import click

from invkit import __version__
from invkit.cli.doctor import doctor
from invkit.cli.options import complain
from invkit.cli.plugins import plugins
from invkit.cli.recipes import show, validate
from invkit.cli.reconstruct import reconstruct
from invkit.cli.run import evaluate, run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="invkit")
def cli() -> None:
    """Image inverse problems with operator-space diffusion: from a recipe to posterior samples and an honest table."""


for command in (run, evaluate, reconstruct, validate, show, plugins, doctor):
    cli.add_command(command)


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """One line of a warning, without the source code that Python shows."""
    click.echo(f"warning: {' '.join(str(message).split())}", err=True)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    warnings.showwarning = _warn
    # These libraries read the metadata of all distributions when they are imported, and fail where one is damaged.
    os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        code = cli.main(arguments, prog_name="invkit", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        code = complain(error)
    sys.exit(code if isinstance(code, int) else 0)
