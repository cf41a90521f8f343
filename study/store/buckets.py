"""A study's store in a bucket: an S3-compatible object store that honors conditional PUT, through boto3.

Endpoint and credentials come from where boto3 looks (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...) and are kept nowhere.
"""

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from mia_core.errors import Refused
from study.store.files import Away, Damaged
from study.store.leases import Found, Lease
from study.store.places import Entry, Place, most_bytes
from study.terminal import duration

URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[^/?#@\x00-\x1f]+)*)/?")
CONNECTIONS = 32
"""Requests at once, where many small objects are read."""

ATTEMPTS = 3
CONFLICTS = 5
SECONDS = {"connect_timeout": 3, "read_timeout": 20}
"""An endpoint that is away is given up in seconds, at each of the attempts."""

MISSING, CONFLICT, REFUSED = 404, 409, 412
DENIED = {401, 403}
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired", "ExpiredTokenFault"}
SKEWED = {"RequestTimeTooSkewed", "RequestInTheFuture"}
UNKNOWN = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "UnrecognizedClientException", "AuthFailure"}
"""Codes of three mistakes that servers deny with, whose ways out differ."""
SKEW_SECONDS = 300.0
"""A clock that is farther off makes a signature another one than it should be; servers take up to 15 minutes."""
LOG_IN = "log in again, e.g. `aws sso login`, or set new credentials; then the same command goes on"
Answer = dict[str, Any]


def parse(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/some/key`; ValueError for what is none."""
    found = URI.fullmatch(uri)
    if found is None or {".", ".."} & set(found[2].split("/")):
        raise Refused(f"results: {without_account(uri)}: is no s3://bucket/prefix")
    return found[1], found[2].strip("/")


def without_account(uri: str) -> str:
    """As it may be shown."""
    return re.sub(r"//.*@", "//", uri).partition("?")[0]


class Bucket(Place):
    """Keys of a bucket that start alike. Each object is written by one PUT, so it is whole or absent."""

    def __init__(self, uri: str) -> None:
        self._bucket, key = parse(uri)
        self.uri = f"s3://{self._bucket}/{key}"
        self._prefix = f"{key}/"
        self._client = _client(tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))
        self._lease: Lease | None = None

    def read(self, relative: str, most: int | None = None) -> bytes:
        """An object's content; Damaged unless it is there, and no larger than it may be."""
        found = self._get(relative, most)
        if found is None:
            raise Damaged(f"{self.uri}/{relative}: sealed, but missing")
        return found["data"]

    def read_each(self, relatives: Sequence[str]) -> Iterator[bytes | None]:
        """Contents of many small objects, CONNECTIONS at once; None for one that is missing."""
        with ThreadPoolExecutor(min(CONNECTIONS, max(1, len(relatives)))) as pool:
            yield from pool.map(self._read_or_none, relatives)

    def _read_or_none(self, relative: str) -> bytes | None:
        with contextlib.suppress(Damaged):
            return self.read(relative)
        return None

    def exists(self, relative: str) -> bool:
        """Whether an object is there, or one below that name."""
        if self.stat(relative):
            return True
        return bool(self._ask("list_objects_v2", Prefix=f"{self._key(relative)}/", MaxKeys=1).get("Contents"))

    def stat(self, relative: str) -> Entry | None:
        """An object as a listing has it; None where there is none."""
        found = self._ask("head_object", Key=self._key(relative), unless=(MISSING,))
        if not found:
            return None
        name = relative.rpartition("/")[2]
        return _entry(name, found["ContentLength"], found["LastModified"], found["ETag"])

    def write(self, relative: str, data: bytes, sync: bool = True) -> None:
        """Create or replace."""
        self._require_lease()
        self._ask("put_object", Key=self._key(relative), Body=data)

    def create(self, relative: str, data: bytes, sync: bool = True) -> bool:
        """Create unless it exists; False when somebody else was first.

        A request whose answer was lost is sent again, and then finds what it wrote itself.
        """
        self._require_lease()
        if self.put(relative, data, None):
            return True
        found = self._get(relative)
        return found is not None and found["data"] == data

    def sync(self, folders: Iterable[str]) -> None:
        """Nothing: an object that was put is there to stay."""

    def put(self, relative: str, data: bytes, instead_of: str | None) -> str | None:
        """Replace the object of that ETag, or create one where there is none: its ETag, None when that did not hold."""
        condition = {"IfNoneMatch": "*"} if instead_of is None else {"IfMatch": instead_of}
        for number in range(CONFLICTS):
            try:
                wanted = {"Key": self._key(relative), "Body": data, **condition}
                found = self._ask("put_object", unless=(REFUSED, MISSING), **wanted)
            except _Conflict:  # two requests at once, of which S3 may have taken neither
                time.sleep(0.1 * 2**number)
            else:
                return found.get("ETag")
        return None

    def remove(self, relative: str) -> None:
        """Remove an object, if it is there."""
        self._require_lease()
        self._ask("delete_object", Key=self._key(relative))

    def remove_folder(self, folder: str) -> None:
        """Remove all that is below a name."""
        for entry in self._list(folder, delimiter=""):
            self.remove(f"{folder}/{entry.name}")

    def prune(self, folder: str) -> None:
        """Nothing: no object, no folder."""

    def names(self, folder: str, prefix: str = "") -> list[str]:
        """Sorted names of the objects in a folder that start so; without hidden ones."""
        return sorted(entry.name for entry in self._list(folder, prefix) if not entry.name.startswith("."))

    def files(self, folder: str, prefix: str = "") -> list[Entry]:
        """All objects in a folder itself that start so, hidden ones too, by name."""
        return sorted(self._list(folder, prefix), key=lambda entry: entry.name)

    def folders(self, folder: str) -> list[str]:
        """Sorted names of the folders in a folder."""
        start = self._start(folder)
        found = [item["Prefix"] for page in self._pages(start, "/") for item in page.get("CommonPrefixes", ())]
        return sorted(name.removeprefix(start).rstrip("/") for name in found)

    def now(self) -> int:
        """Nanoseconds since the epoch, of the server's clock."""
        return _nanoseconds(_date(self._ask("list_objects_v2", Prefix=self._prefix, MaxKeys=1)))

    def reach(self) -> None:
        """ValueError unless the bucket can be listed."""
        try:
            self.now()
        except Away as error:
            raise Refused(f"results: {error}") from None

    def probe(self) -> None:
        """ValueError unless the bucket takes a mebibyte, and refuses what a conditional PUT must not do."""
        name = f".probe-{secrets.token_hex(4)}"
        try:
            first = self.put(name, bytes(2**20), None)
            honored = first and not self.put(name, b"", None) and not self.put(name, b"", f'"{"0" * 32}"')
            self.remove(name)
        except Away as error:
            raise Refused(f"results: cannot write: {error}") from None
        if not honored:
            raise Refused(
                f"results: {self.uri}: {self._host} does not honor conditional PUT (If-None-Match, If-Match), so "
                "a result could be sealed twice; use an endpoint that does"
            )

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One driver a study, by a lease in `.lock`; ValueError while another one has it.

        Once it is lost, nothing more is written through this place, and Away is raised at the end.
        """
        lease = Lease(self)
        lease.acquire()
        self._lease = lease
        try:
            yield
        finally:
            self._lease = None
            lease.release()

    def look(self, relative: str) -> Found | None:
        """An object with its ETag and its age in seconds, by the server's clock; None where there is none."""
        found = self._get(relative)
        if found is None:
            return None
        age = (_date(found) - found["LastModified"]).total_seconds()
        return Found(found["data"], found["ETag"], max(0.0, age))

    def _require_lease(self) -> None:
        if self._lease:
            self._lease.require()

    def _key(self, relative: str) -> str:
        return self._prefix + relative

    def _start(self, folder: str) -> str:
        return self._prefix if folder == "." else f"{self._prefix}{folder}/"

    def _pages(self, start: str, delimiter: str) -> Iterator[Answer]:
        more: dict[str, Any] = {}
        while True:
            page = self._ask("list_objects_v2", Prefix=start, Delimiter=delimiter, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _list(self, folder: str, prefix: str = "", delimiter: str = "/") -> Iterator[Entry]:
        start = self._start(folder)
        for page in self._pages(start + prefix, delimiter):
            for item in page.get("Contents", ()):
                name = item["Key"].removeprefix(start)
                if name and not name.endswith("/"):  # some tools put an empty object in a folder's place
                    yield _entry(name, item["Size"], item["LastModified"], item["ETag"])

    def _get(self, relative: str, most: int | None = None) -> Answer | None:
        import botocore.exceptions

        limit = most_bytes(relative) if most is None else min(most, most_bytes(relative))
        for _ in range(ATTEMPTS):
            found = self._ask("get_object", Key=self._key(relative), unless=(MISSING,))
            if not found:
                return None
            if found["ContentLength"] > limit:
                raise Damaged(f"{self.uri}/{relative}: has {found['ContentLength']} bytes, and may have {limit}")
            try:
                return {**found, "data": found["Body"].read()}
            except botocore.exceptions.BotoCoreError:  # cut off on its way, which boto3 does not try again
                continue
        raise Away(f"{self.uri}/{relative}: was cut off {ATTEMPTS} times")

    def _ask(self, operation: str, unless: tuple[int, ...] = (), **arguments: Any) -> Answer:
        """The answer; an empty one for a status in `unless`. Away, in one line without secrets, for all else."""
        import botocore.exceptions

        try:
            return getattr(self._client, operation)(Bucket=self._bucket, **arguments)
        except botocore.exceptions.ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = error.response.get("Error", {}).get("Code", "")
            if code != "NoSuchBucket" and status in unless:
                return {}
            if status == CONFLICT:
                raise _Conflict from None
            skew = _skew(error.response)
            raise Away(f"{self.uri}: {self._words(status, code, skew)}") from None
        except botocore.exceptions.BotoCoreError as error:
            raise Away(f"{self.uri}: {self._reason(error)}") from None

    def _words(self, status: int, code: str, skew: float) -> str:
        """skew: seconds by which this machine's clock is ahead of the server's."""
        if code == "NoSuchBucket":
            return f"there is no bucket {self._bucket!r}; make it first"
        if code in EXPIRED:
            return f"the login has expired ({code}); {LOG_IN}"
        if code in SKEWED or (code in UNKNOWN and abs(skew) > SKEW_SECONDS):
            by = f" by about {duration(abs(skew))} {'ahead' if skew > 0 else 'behind'}" if abs(skew) > 1 else ""
            return f"this machine's clock is not {self._host}'s{by} ({code}); set it, best by NTP"
        if code in UNKNOWN:
            return (
                f"{self._host} does not know these credentials ({code}); AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, "
                "for temporary ones, AWS_SESSION_TOKEN have to be of one account there"
            )
        if status in DENIED:
            return (
                f"access denied ({code}); the credentials must allow to list the bucket, and get, put, delete objects"
            )
        return f"{self._host} answers {status} ({code})"

    def _reason(self, error: Exception) -> str:
        import botocore.exceptions as known

        if isinstance(error, (known.NoCredentialsError, known.PartialCredentialsError)):
            return "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, as for any S3 program"
        logins = known.SSOError, known.SSOTokenLoadError, known.TokenRetrievalError, known.CredentialRetrievalError
        if isinstance(error, logins):
            return f"the login has expired, or there is none ({type(error).__name__}); {LOG_IN}"
        return f"{self._host} cannot be reached ({type(error).__name__}); check AWS_ENDPOINT_URL, and the network"

    @property
    def _host(self) -> str:
        found = urlsplit(self._client.meta.endpoint_url)
        return f"{found.scheme}://{found.hostname}" + (f":{found.port}" if found.port else "")


class _Conflict(Exception):
    """Another request for the same key was on its way."""


@cache
def _client(environment: tuple[tuple[str, str], ...]) -> Any:
    """One for each environment; they may be used by many threads."""
    try:
        import boto3
        import botocore.exceptions
        from botocore.config import Config
    except ImportError:
        raise Refused(
            "results: s3:// needs boto3, which is missing; pip install '.[s3]' in the project's folder"
        ) from None
    config = Config(
        retries={"mode": "standard", "max_attempts": ATTEMPTS},
        max_pool_connections=CONNECTIONS,
        request_checksum_calculation="when_required",  # older servers know no newer ones, and each file has its sha256
        response_checksum_validation="when_required",
        **SECONDS,
    )
    try:
        client = boto3.session.Session().client("s3", config=config)
        if urlsplit(client.meta.endpoint_url).hostname.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            return client
        by_path = Config(s3={"addressing_style": "path"})  # a server of one's own has no host for each bucket
        return boto3.session.Session().client("s3", config=config.merge(by_path))
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise Refused(f"results: the AWS settings of this environment do not work ({type(error).__name__})") from None


def _entry(name: str, size: int, modified: Any, etag: str) -> Entry:
    return Entry(name, size, _nanoseconds(modified), f"{size}-{etag}")


def _skew(answer: Answer) -> float:
    """Seconds by which this machine's clock is ahead of a server's; 0 where that does not tell the time."""
    try:
        return time.time() - float(_date(answer).timestamp())
    except (KeyError, TypeError, ValueError):
        return 0.0


def _date(answer: Answer) -> Any:
    """When the server answered, by its own clock."""
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])


def _nanoseconds(moment: Any) -> int:
    return int(moment.timestamp()) * 10**9
