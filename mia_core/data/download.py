"""Archives from the network: fetched by torchvision, believed by their hash only, unpacked whole or not at all."""

import hashlib
import tarfile
import tempfile
from pathlib import Path

from mia_core.errors import Refused


def fetch_archive(url: str, folder: Path, digest: str) -> None:
    """Download a .tar.gz and move what it holds into `folder`; what is there already is not fetched again.

    digest: `md5:...` or `sha256:...` of the archive. ValueError when it cannot be had, or is another one.
    """
    from mia_core.vision import torchvision  # seconds of imports, which only a download needs

    algorithm, _, expected = digest.partition(":")
    try:
        with tempfile.TemporaryDirectory(prefix=".download-", dir=_made(folder)) as scratch:
            torchvision.datasets.utils.download_url(url, scratch, "archive.tar.gz")
            archive = Path(scratch, "archive.tar.gz")
            with archive.open("rb") as file:
                found = hashlib.file_digest(file, algorithm).hexdigest()
            if found != expected:
                raise Refused(f"data.download: {url} has {algorithm} {found}, expected {expected}")
            unpacked = Path(scratch, "unpacked")
            with tarfile.open(archive) as tar:
                tar.extractall(unpacked, filter="data")
            for item in unpacked.iterdir():
                item.rename(folder / item.name)
    except (OSError, RuntimeError, tarfile.TarError) as error:
        raise Refused(f"data.download: {url}: {error}") from None


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
