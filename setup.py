"""Builds as pyproject.toml says, with the studies of configs/ inside the package `study`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfigs(build_py):
    """In a checkout, and in an editable install of one, configs/ is where it is."""

    def run(self) -> None:
        """Copy it where packages are gathered for a wheel."""
        super().run()
        if not self.editable_mode:
            shutil.copytree("configs", Path(self.build_lib, "study", "configs"), dirs_exist_ok=True)


setup(cmdclass={"build_py": WithConfigs})
