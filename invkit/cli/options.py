"""Options that several commands share."""

import click

plugin_files = click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(exists=True, dir_okay=False), help="Load a plugin file (.py)."
)
json_output = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
device_name = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
