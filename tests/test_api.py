import subprocess
import sys

from invkit import api


def test_every_name_is_there():
    public = {name for name, value in vars(api).items() if not name.startswith("_")}
    assert public == set(api.__all__)


def test_the_command_line_loads_without_torch():
    code = "import sys, invkit.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
