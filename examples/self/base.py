"""A base image of the running Python and its standard library: `base.py DOCKC OUTPUT`. Prints where Python is in it."""

import subprocess
import sys
import sysconfig
from pathlib import Path

LEFT_OUT = ("test", "idlelib", "lib2to3", "turtledemo", "site-packages", "dist-packages", "ensurepip", "__pycache__", "cgi.py")

dockc, output = sys.argv[1:]
python = Path(sys.executable).resolve()
library = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}))
parts = sorted(str(part) for part in library.iterdir() if part.name not in LEFT_OUT and not part.name.startswith("config-"))
made = subprocess.run([dockc, "base", "sh", "ln", str(python), *parts, "--output", output], stdout=sys.stderr, check=False)
if made.returncode == 0:
    sys.stdout.write(f"{python}\n")
sys.exit(made.returncode)
