"""Where results and MLflow are, as a study file says it. Neither is a part of the resolved spec."""

from importlib.metadata import entry_points

from mia_core.errors import Refused, shorten
from mia_core.paths import expanded_text
from mia_core.settings import nearest

SQLITE = "sqlite:///"
SERVERS = ("http", "https", "databricks", "databricks-uc", "uc")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
TRACKING = f"{SQLITE}mlflow.db"
"""Where MLflow is, unless a study file or a command says otherwise."""


def results_location(given: str) -> str:
    """A folder or bucket, with `~` and variables replaced. Refused where a variable is not set."""
    try:
        return expanded_text(given)
    except Refused as error:
        raise Refused(f"results: {error}") from None


def tracking_uri(given: str | None) -> str | None:
    """A URI that MLflow takes; `~` and variables are for the path of an SQLite file alone. Refused for any other."""
    if given is None:
        return None
    if given.startswith(SQLITE):
        try:
            return SQLITE + expanded_text(given.removeprefix(SQLITE))
        except Refused as error:
            raise Refused(f"tracking: {error}") from None
    scheme = given.partition("://")[0].lower() if "://" in given else ""
    if scheme in ("", "file") and given.partition(":")[0] not in SERVERS:
        raise Refused(
            f"tracking: {shorten(given)}: MLflow keeps runs in a database or on a server, and not in a folder; "
            "sqlite:///mlflow.db or http://host:5000 will do, and null for none (a shell makes ~ the home folder)"
        )
    known = {*SERVERS, *DATABASES, *(point.name for point in entry_points(group="mlflow.tracking_store"))}
    kind = (scheme or given).partition(":")[0].partition("+")[0]
    if kind not in known:
        raise Refused(f"tracking: {kind}:// is nothing that MLflow keeps runs in{nearest(kind, known)}")
    if kind == "sqlite":
        raise Refused(
            "tracking: a database in a file begins with sqlite:/// and then its path, e.g. sqlite:///mlflow.db"
        )
    return given
