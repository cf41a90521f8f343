"""An expired login, a skewed clock, wrong credentials and an absent endpoint: each is told as what it is, with its way
out. On a server that answers as S3 does.
"""

import email.utils
import http.server
import os
import threading
import time

import pytest

pytest.importorskip("boto3")

from study.outcomes import REFUSED
from study.store import Away, Store, buckets
from tests.commands import mia_study
from tests.small import SMALL

ANSWERS = {
    "login": (400, "ExpiredToken", 0, ("the login has expired", "aws sso login")),
    "login, elsewhere": (403, "TokenRefreshRequired", 0, ("the login has expired", "aws sso login")),
    "clock ahead": (403, "RequestTimeTooSkewed", -7200, ("clock is not", "2.0 h ahead", "set it, best by NTP")),
    "clock behind": (403, "RequestTimeTooSkewed", 7200, ("clock is not", "2.0 h behind", "set it, best by NTP")),
    "clock by its signature": (403, "SignatureDoesNotMatch", -7200, ("clock is not", "2.0 h ahead")),
    "secret": (403, "SignatureDoesNotMatch", 0, ("does not know these credentials", "AWS_SESSION_TOKEN")),
    "key": (403, "InvalidAccessKeyId", 0, ("does not know these credentials", "AWS_ACCESS_KEY_ID")),
    "rights": (403, "AccessDenied", 0, ("access denied (AccessDenied)", "must allow to list the bucket")),
    "bucket": (404, "NoSuchBucket", 0, ("there is no bucket", "make it first")),
    "another": (500, "InternalError", 0, ("answers 500 (InternalError)",)),
}


@pytest.fixture
def server(monkeypatch):
    """One that always gives one answer, by a clock that is so many seconds ahead; both may be changed."""

    class Handler(http.server.BaseHTTPRequestHandler):
        status, code, ahead = 200, "", 0

        def do_GET(self):
            body = f"<Error><Code>{self.code}</Code><Message>m</Message></Error>".encode()
            self.send_response(self.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp=None):
            return email.utils.formatdate(time.time() + self.ahead, usegmt=True)

        def log_message(self, *words):
            pass

    monkeypatch.setattr(http.server.BaseHTTPRequestHandler, "do_PUT", lambda self: self.do_GET(), raising=False)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "whatever_secret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setattr(buckets, "ATTEMPTS", 1)
        yield Handler
        server.shutdown()


def said_by_a_sweep(tmp_path, monkeypatch, capsys):
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    assert mia_study("sweep")(["small.yaml", "--set", "results=s3://bucket/results"]) == REFUSED
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "whatever_secret" not in said
    return said


@pytest.mark.parametrize("kind", ANSWERS)
def test_what_a_server_denies_is_told_as_what_it_is(kind, server, tmp_path, monkeypatch, capsys):
    server.status, server.code, server.ahead, words = ANSWERS[kind]
    said = said_by_a_sweep(tmp_path, monkeypatch, capsys)
    assert all(word in said for word in words), said
    others = {name: answer[3][0] for name, answer in ANSWERS.items() if answer[3][0] != words[0]}
    assert not [name for name, word in others.items() if word in said]


def test_an_endpoint_that_is_away_is_no_matter_of_credentials(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    said = said_by_a_sweep(tmp_path, monkeypatch, capsys)
    assert "http://127.0.0.1:1 cannot be reached" in said and "check AWS_ENDPOINT_URL, and the network" in said


def test_a_login_by_sso_that_has_ended_is_told_as_one(server, tmp_path, monkeypatch, capsys):
    (tmp_path / "config").write_text(
        "[default]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = r\nregion = us-east-1\n"
        "[sso-session s]\nsso_start_url = https://example.org/start\nsso_region = us-east-1\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    said = said_by_a_sweep(tmp_path, monkeypatch, capsys)
    assert "the login has expired, or there is none" in said and "aws sso login" in said


def test_a_login_that_expires_while_a_study_runs_says_that_the_same_command_goes_on(server):
    server.status, server.code, _, _ = ANSWERS["login"]
    with pytest.raises(
        Away, match=r"log in again, e\.g\. `aws sso login`, or set new credentials; then the same command"
    ):
        Store("s3://bucket/results", "small").place.write("done/a.json", b"x")


def test_no_credentials_at_all_are_told_as_none(server, tmp_path, monkeypatch, capsys):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    assert "no credentials; set AWS_ACCESS_KEY_ID" in said_by_a_sweep(tmp_path, monkeypatch, capsys)
