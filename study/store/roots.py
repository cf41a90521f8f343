"""Which place a results root names: a folder of this machine, or a bucket."""

from pathlib import Path
from urllib.parse import unquote

from mia_core.errors import Refused
from study.store.buckets import Bucket, parse, without_account
from study.store.files import PRIVATE, Modes
from study.store.places import Folder, Place

WHERE = "where the study is, e.g. results/digits or s3://bucket/results/digits"


def absolute(root: str | Path) -> str:
    """A results root under a name that holds in any process; ValueError for a scheme that is not supported."""
    text = str(root)
    if "://" not in text:
        return str(Path(root).absolute())
    scheme, _, rest = text.partition("://")
    if scheme.lower() == "s3":
        return f"s3://{'/'.join(parse(text))}".rstrip("/")
    host, slash, path = rest.partition("/")
    if scheme.lower() == "file" and host in ("", "localhost") and slash:
        return str(Path(unquote(f"/{path}")).absolute())
    raise Refused(
        f"results: {without_account(text)}: not supported; a folder, file:///folder and s3://bucket/prefix are"
    )


def place(uri: str, modes: Modes = PRIVATE) -> Place:
    """An absolute root, or what is below one. modes: of what is made there, where it is a folder."""
    return Bucket(uri) if uri.startswith("s3://") else Folder(Path(uri), modes)


def read_bytes(uri: str, most: int) -> bytes:
    """An object of a bucket, such as s3://bucket/results/digits/specs/<hash>.json; Damaged where there is none."""
    folder, _, name = absolute(uri).rpartition("/")
    return place(folder).read(name, most)
