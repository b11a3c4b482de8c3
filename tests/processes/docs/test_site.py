"""The site that `make docs` builds of the pages."""

import subprocess
import sys
from pathlib import Path

from tests.harness.project import ROOT


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]

    subprocess.run(command, cwd=ROOT, check=True)

    assert (tmp_path / "site" / "architecture" / "index.html").exists()
