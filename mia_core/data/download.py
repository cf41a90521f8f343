"""Archives from the network: downloaded by torchvision, verified by hash, unpacked completely or not at all."""

import hashlib
import tarfile
import tempfile
from pathlib import Path

from mia_core.errors import Refused


def fetch_archive(url: str, folder: Path, digest: str) -> None:
    """Download a .tar.gz and move its content into `folder`.

    digest: `md5:...` or `sha256:...` of the archive. Refused if the download fails or has another digest.
    """
    from mia_core.vision import torchvision  # takes seconds to import, and only a download needs it

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
                if (folder / item.name).exists():
                    raise Refused(f"data.download: {folder / item.name} is there already; remove it to fetch it anew")
                item.rename(folder / item.name)
    except (OSError, RuntimeError, tarfile.TarError) as error:
        raise Refused(f"data.download: {url}: {error}") from None


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
