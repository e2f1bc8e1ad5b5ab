"""Files and folders that a command writes: looked at before the work, so that no figures are lost after it."""

import os
from pathlib import Path


class OutputError(ValueError):
    """An output that cannot be written; the message names it."""


def prepare(*files: Path | None) -> None:
    """Make the folders of files that will be written. OutputError for one that cannot be written."""
    for file in files:
        if file is None:
            continue
        prepare_folder(file.parent)
        if file.is_dir():
            raise OutputError(f"{file} cannot be written: it is a folder")
        if file.exists() and not os.access(file, os.W_OK):
            raise OutputError(f"{file} cannot be written: permission denied")


def prepare_folder(folder: Path | None) -> None:
    """Make a folder that files will be written into, if it is not there. OutputError if that cannot be."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(f"{folder} cannot be made: {problem.strerror}") from problem
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder} cannot be written into: permission denied")
