"""Members that a paper's authors published as indices of records, as SecMI's authors did for CIFAR-10."""

import hashlib
import io
import zipfile

import numpy as np

from mia_core.errors import Refused
from mia_core.opening import MEBIBYTE, read_regular
from mia_core.paths import expanded

MOST_BYTES = 256 * MEBIBYTE


def listed_members(path: str, sha256: str, records: int) -> np.ndarray:
    """int64 [.], ascending: indices below `records` from FILE.npy, or from an array of FILE.npz as FILE.npz:NAME.

    Refused unless the file has this sha256 and its indices are whole numbers of that range, each once.
    """
    file, _, name = path.partition(".npz:")
    file = f"{file}.npz" if name else file
    where = f"split.members: {path}"
    try:
        data = read_regular(expanded(file), MOST_BYTES)
    except OSError as error:
        raise Refused(f"{where} cannot be read: {error.strerror or error}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise Refused(f"{where} has sha256 {found}, and split.members_sha256 is {sha256}; take the file of that sha256")
    try:
        read = np.load(io.BytesIO(data), allow_pickle=False)
        index = read[name] if name else read
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Refused(f"{where} has no such array: {error}") from None
    if not isinstance(index, np.ndarray) or index.ndim != 1 or index.dtype.kind not in "iu" or not len(index):
        raise Refused(f"{where} must be a list of whole numbers; name an array of an archive as FILE.npz:NAME")
    unique = np.unique(index)
    if len(unique) < len(index) or unique[0] < 0 or unique[-1] >= records:
        raise Refused(f"{where} must name each of its records once, by numbers from 0 to {records - 1}")
    return unique.astype(np.int64)
