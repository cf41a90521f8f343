"""`python -m tests.object_store [--plain] [--listen ADDRESS]`: moto's S3, one request at a time; prints its port.

One at a time, so that a conditional PUT is checked and done at once, as real servers do it; moto alone would race. With
--plain it ignores conditions, as some servers do.
"""

import argparse
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import boto3

BUCKET, FULL, REGION = "studies", "full", "us-east-1"
MANY = [f"{number:05d}.json" for number in range(1010)]
"""More names than a page of a listing has; each is what its file below `small/done` of the bucket FULL holds."""
CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")
HERE = Path(__file__).parents[1]
"""Where `tests` can be imported, wherever a test works."""


def serve(plain, listen):
    """Until it is ended. listen: an address, with a port or not."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import make_server

    held = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    held.create_bucket(FULL, REGION)
    for name in MANY:
        held.put_object(FULL, f"small/done/{name}", name.encode())

    application = DomainDispatcherApplication(create_backend_app)

    def without_conditions(environ, respond):
        for name in CONDITIONS:
            environ.pop(name, None)
        return application(environ, respond)

    address, _, port = listen.partition(":")
    server = make_server(address, int(port or 0), without_conditions if plain else application, threaded=False)
    print(server.server_port, flush=True)
    server.serve_forever()


@contextmanager
def object_store(*arguments):
    """A server of its own with one empty bucket, and FULL; the environment of who uses it."""
    command = [sys.executable, "-m", "tests.object_store", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=HERE) as process:
        try:
            environment = {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(process.stdout.readline())}",
                "AWS_ACCESS_KEY_ID": "nobody",
                "AWS_SECRET_ACCESS_KEY": "whatever_secret",
                "AWS_DEFAULT_REGION": REGION,
            }
            client(environment).create_bucket(Bucket=BUCKET)
            yield environment
        finally:
            process.kill()


def client(environment):
    """boto3's, to look behind a store's back."""
    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.object_store", description=__doc__.splitlines()[0])
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--listen", default="127.0.0.1")
    options = parser.parse_args()
    serve(options.plain, options.listen)
