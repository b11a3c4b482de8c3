"""Where results may be written: never in place of what is no file."""

import os
from pathlib import Path

import pytest

from message_batches.cli.result_export import FileNotWritten, refuse_existing


def test_only_a_regular_file_is_overwritten(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("old")

    for name in ("pipe", "."):
        with pytest.raises(FileNotWritten):
            refuse_existing(tmp_path / name, force=True)
    with pytest.raises(FileNotWritten):
        refuse_existing(tmp_path / "file", force=False)
    refuse_existing(tmp_path / "file", force=True)
    refuse_existing(tmp_path / "none", force=False)


def test_standard_output_is_no_name_of_a_file() -> None:
    with pytest.raises(FileNotWritten, match="standard output"):
        refuse_existing(Path("-"), force=True)
