"""The packages that Spark's Python workers need, as one zip."""

import zipfile
from pathlib import Path
from typing import Final

import models
import training

_PACKAGES: Final = (models, training)


def packages_zip(folder: Path) -> Path:
    """Write `penstock-packages.zip` into `folder`: for `--py-files`, or `SparkContext.addPyFile`.

    It holds the project's own packages `models` and `training`. NumPy, pyarrow and msgspec must be installed where
    the workers run: they are compiled, and cannot be loaded from a zip.
    """
    target = folder / "penstock-packages.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in _PACKAGES:
            root = Path(package.__path__[0])
            for source in sorted(root.rglob("*.py")):
                archive.write(source, source.relative_to(root.parent))
    return target
