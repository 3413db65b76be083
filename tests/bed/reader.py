"""Keys of the object store that read one bucket and do nothing else: ``python -m tests.bed.reader BUCKET``."""

from __future__ import annotations

import json
import sys

from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException

from . import sidecars
from .shell import BedError, tell

#: Not secret: it opens a bucket of a test.
_SECRET = "reader-secret-of-the-test-bed"


def policy(bucket: str) -> dict[str, object]:
    """What `pgsafe drill` needs of a bucket; the names of the actions are S3's."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetBucketLocation", "s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{bucket}"],
            },
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{bucket}/*"]},
        ],
    }


def reader(bucket: str) -> dict[str, str]:
    """Make a user of MinIO who only reads that bucket; {access_key, secret_key}. Safe to repeat."""
    name = f"reader-{bucket}"
    provider = StaticProvider(sidecars.ACCESS_KEY, sidecars.SECRET_KEY)
    admin = MinioAdmin(endpoint=sidecars.MINIO.endpoint, credentials=provider, secure=False)
    try:
        admin.user_add(name, _SECRET)
        admin.policy_add(name, policy=policy(bucket))
        admin.policy_set(name, user=name)
    except MinioAdminException as error:
        raise BedError(f"MinIO made no user {name}: {error}") from error
    return {"access_key": name, "secret_key": _SECRET}


def main() -> int:
    """Print {access_key, secret_key} as JSON; 1 = there is no such user, and why."""
    try:
        print(json.dumps(reader(sys.argv[1])))
    except BedError as error:
        return tell(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
