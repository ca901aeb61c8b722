"""Entry point of the command line. Results go to stdout, everything else to stderr."""

import codecs
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

import click

from invkit import __version__
from invkit.cli.doctor import doctor
from invkit.cli.export import export
from invkit.cli.models import models
from invkit.cli.options import report_error
from invkit.cli.plugins import plugins
from invkit.cli.recipes import show, validate
from invkit.cli.reconstruct import reconstruct
from invkit.cli.run import evaluate, run
from invkit.cli.runs import runs


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="invkit")
def cli() -> None:
    """Inverse problems in imaging: posterior samples from conditional diffusion models, evaluated against baselines."""


for command in (run, evaluate, reconstruct, export, models, runs, validate, show, plugins, doctor):
    cli.add_command(command)


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning in one line, without the source line that Python appends."""
    click.echo(f"warning: {' '.join(str(message).split())}", err=True)


PLAIN = str.maketrans("▲▼●○─━│–−±⁰¹²³⁴⁵⁶⁷⁸⁹", "^v#~--|--+0123456789")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Replacements for the characters that the encoding of a stream lacks."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(PLAIN)
    return text.encode("ascii", "replace").decode(), error.end


def _usable_streams() -> None:
    """Closed streams become sinks, and characters that the encoding of a stream lacks are printed as similar ones, or `?`."""
    codecs.register_error("invkit", _plainly)
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="invkit")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its exit code."""
    _usable_streams()
    warnings.showwarning = _warn
    # On import these libraries read the metadata of all installed distributions, and fail if one is damaged.
    os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        code = cli.main(arguments, prog_name="invkit", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        code = report_error(error)
    sys.exit(code if isinstance(code, int) else 0)
