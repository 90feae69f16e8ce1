"""What outlives the stack: the table of batches, anchors and ledgers, and the bucket of archive and quarantine."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy, Stack, aws_dynamodb, aws_s3

ARCHIVE_COLD_AFTER = Duration.days(90)
OLD_VERSIONS_KEPT = Duration.days(90)
UPLOADS_ABORTED_AFTER = Duration.days(7)


def table(stack: Stack) -> aws_dynamodb.Table:
    """`cloud/stores/aws/table.py` describes its keys."""
    return aws_dynamodb.Table(
        stack,
        "Store",
        partition_key=aws_dynamodb.Attribute(name="pk", type=aws_dynamodb.AttributeType.STRING),
        sort_key=aws_dynamodb.Attribute(name="sk", type=aws_dynamodb.AttributeType.STRING),
        billing_mode=aws_dynamodb.BillingMode.PAY_PER_REQUEST,
        point_in_time_recovery_specification=aws_dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
        deletion_protection=True,
        removal_policy=RemovalPolicy.RETAIN,
    )


def bucket(stack: Stack) -> aws_s3.Bucket:
    """Nothing in it expires; the archive moves to a colder storage class."""
    return aws_s3.Bucket(
        stack,
        "Archive",
        encryption=aws_s3.BucketEncryption.S3_MANAGED,
        block_public_access=aws_s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=aws_s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        versioned=True,
        removal_policy=RemovalPolicy.RETAIN,
        lifecycle_rules=[
            aws_s3.LifecycleRule(
                id="cold",
                prefix="archive/",
                transitions=[
                    aws_s3.Transition(
                        storage_class=aws_s3.StorageClass.GLACIER_INSTANT_RETRIEVAL,
                        transition_after=ARCHIVE_COLD_AFTER,
                    )
                ],
            ),
            aws_s3.LifecycleRule(
                id="tidy",
                abort_incomplete_multipart_upload_after=UPLOADS_ABORTED_AFTER,
                noncurrent_version_expiration=OLD_VERSIONS_KEPT,
            ),
        ],
    )
