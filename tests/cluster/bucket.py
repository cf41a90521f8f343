"""`python -m tests.cluster.bucket [FOLDER]`: copy the bucket that ~/.aws leads to into a folder, or make one."""

import sys
from pathlib import Path

import boto3

from tests.object_store import BUCKET

if __name__ == "__main__":
    client = boto3.client("s3")
    if len(sys.argv) == 1:
        client.create_bucket(Bucket=BUCKET)
    else:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for found in page.get("Contents", []):
                path = Path(sys.argv[1], found["Key"])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(client.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read())
