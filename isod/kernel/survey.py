"""Surveying a host: config space of every PCI function, through sysfs.

Past the first 64 bytes config space needs CAP_SYS_ADMIN (drivers/pci/pci-sysfs.c,
pci_read_config, 7.2), and reading it wakes a sleeping device. So this is no part of a scan.
"""

from __future__ import annotations

import os
from pathlib import Path

from isod.model.address import Address
from isod.model.survey import SURVEY_VERSION, Survey, SurveyedFunction

from .config_space import ConfigSpace, parse_config_space
from .scan import pci_directory
from .tree import PCI_NAME, Directory, UnreadableError, names_in

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def survey_host(root: Path) -> Survey:
    """Read every function below a root directory (blocking). One that goes away meanwhile is left
    out; one that does not answer is in, with nothing known of it. Raises UnreadableError when not
    even their names can be read."""
    found = []
    for name in names_in(pci_directory(root)):
        if PCI_NAME.fullmatch(name):
            function = _survey_function(pci_directory(root) / name)
            if function is not None:
                found.append(function)
    return Survey(version=SURVEY_VERSION, functions=tuple(found))


def _survey_function(path: Path) -> SurveyedFunction | None:
    try:
        with Directory(path) as directory:
            space = _read(directory)
            generation, name = directory.generation, directory.name
    except (FileNotFoundError, UnreadableError):
        return None
    facts = {field: getattr(space, field) for field in ConfigSpace.__dataclass_fields__}
    return SurveyedFunction(address=Address.pci(name), generation=generation, **facts)


def _read(directory: Directory) -> ConfigSpace:
    """Raises FileNotFoundError when the function is gone."""
    try:
        descriptor = os.open("config", _FLAGS, dir_fd=directory.descriptor)
    except FileNotFoundError:
        raise
    except OSError:
        return ConfigSpace()
    try:
        # sysfs shows the length of config space as the file's, whoever asks.
        size = os.fstat(descriptor).st_size
        return parse_config_space(lambda at, count: os.pread(descriptor, count, at), size)
    except OSError:
        return ConfigSpace()
    finally:
        os.close(descriptor)
