"""Secrets of every kind, and the search for them: as they are, in base64, percent-encoded, in hexadecimal, in JSON."""

import base64
import gzip
import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pyarrow as pa
import pyarrow.parquet as pq

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDKEY000001",
    "AWS_SECRET_ACCESS_KEY": "aws/planted+secret&key=1",
    "AWS_SESSION_TOKEN": "aws/planted+session&token=2",
    "AWS_SECURITY_TOKEN": "aws/planted+security&token=3",
    "MLFLOW_TRACKING_USERNAME": "planted-mlflow-user-4",
    "MLFLOW_TRACKING_PASSWORD": "mlflow/planted+pass&word=5",
    "MLFLOW_TRACKING_TOKEN": "mlflow/planted+token&=6",
    "RAY_AUTH_TOKEN": "ray-planted-token-of-a-cluster-7",
    "SOME_SERVICE_TOKEN": "some/planted+token&=8",
    "SOME_SERVICE_KEY": "some/planted+key&=9",
    "SOME_SERVICE_PASSWORD": "some/planted+pass&word=10",
}
URI_USER, URI_PASSWORD, URI_TOKEN = "planted-uri-user-11", "uri/planted+pass@word=12", "uri-planted-query-token-13"
TRACKING = f"http://{URI_USER}:{quote(URI_PASSWORD, safe='')}@127.0.0.1:9/mlflow?token={URI_TOKEN}"
ACCOUNT_KEY, ACCOUNT_SECRET = "AKIAPLANTEDKEY000014", "results-planted-secret-15"
RESULTS = f"s3://{ACCOUNT_KEY}:{ACCOUNT_SECRET}@bucket/results"

SECRETS = [*ENVIRONMENT.values(), URI_USER, URI_PASSWORD, URI_TOKEN, ACCOUNT_KEY, ACCOUNT_SECRET]


def forms(secret: str) -> set[bytes]:
    """All that it is looked for as; in base64, at each of the three places in a longer text."""
    plain = secret.encode()
    found = {plain, plain.hex().encode(), json.dumps(secret)[1:-1].encode()}
    found |= {quote(secret, safe="").encode(), quote(secret).encode(), quote_plus(secret).encode()}
    for before in range(3):
        for alphabet in (None, b"-_"):
            text = base64.b64encode(bytes(before) + plain, alphabet)
            found.add(text[-(-before * 8 // 6) : (before + len(plain)) * 8 // 6])
    return found


def contents(path: Path) -> bytes:
    """A file as it is, and what is compressed in it: every text of a Parquet file, what gzip packed."""
    data = path.read_bytes()
    if data[:4] == b"PAR1":
        table = pq.read_table(pa.BufferReader(data))
        texts = [str(value) for column in table.columns for value in column.to_pylist()]
        data += "\n".join([*texts, str(table.schema.metadata)]).encode()
    if data[:2] == b"\x1f\x8b":
        data += gzip.decompress(data)
    return data


def found_in(data: bytes, secrets: list[str]) -> list[str]:
    """The secrets that a text holds in any form."""
    return [secret for secret in secrets if any(form in data for form in forms(secret))]


def found_below(folder: Path, secrets: list[str]) -> list[tuple[str, str]]:
    """Path and secret, for all in the names and contents of the files below a folder."""
    paths = [path for path in folder.rglob("*") if not path.is_symlink()]
    named = [(str(path), secret) for path in paths for secret in found_in(path.name.encode(), secrets)]
    files = [path for path in paths if path.is_file()]
    return named + [(str(path), secret) for path in files for secret in found_in(contents(path), secrets)]
