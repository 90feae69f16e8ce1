"""The stores on AWS: one DynamoDB table (`batches.py`, `anchors.py`, `ledgers.py`) and one S3 bucket (`archive.py`,
`quarantine.py`). botocore retries single calls; what still fails is a `StoreError`, and the queue retries the message.
"""

from __future__ import annotations

from cloud.ports import Stores
from cloud.stores.aws.anchors import DynamoAnchors
from cloud.stores.aws.archive import S3Archive
from cloud.stores.aws.batches import DynamoBatches
from cloud.stores.aws.ledgers import DynamoLedgers
from cloud.stores.aws.quarantine import S3Quarantine
from cloud.stores.aws.s3 import S3
from cloud.stores.aws.table import DynamoDB


def aws_stores(dynamodb: DynamoDB, table: str, s3: S3, bucket: str) -> Stores:
    """All stores of one table and one bucket."""
    return Stores(
        archive=S3Archive(s3, bucket),
        batches=DynamoBatches(dynamodb, table),
        anchors=DynamoAnchors(dynamodb, table),
        ledgers=DynamoLedgers(dynamodb, table),
        quarantine=S3Quarantine(s3, bucket),
    )
