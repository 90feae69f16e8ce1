"""What AWS holds for a fleet: IoT rule -> SQS -> Lambda -> DynamoDB + S3, and the policy of a box.

The code's place is two parameters, so that the template does not change when the code does.
"""

from __future__ import annotations

from aws_cdk import (
    Acknowledgment,
    Aws,
    CfnOutput,
    CfnParameter,
    Duration,
    RemovalPolicy,
    Stack,
    Validations,
    aws_dynamodb,
    aws_iam,
    aws_iot,
    aws_lambda,
    aws_lambda_destinations,
    aws_lambda_event_sources,
    aws_logs,
    aws_s3,
    aws_sqs,
)

RULE = "wattpost_batch"
POLICY = "wattpost-box"
# `topic()` leaves out the Basic Ingest prefix, so that the last segment is the box's name in either case.
RULE_SQL = (
    "SELECT encode(*, 'base64') AS d, topic() AS t, clientid() AS c, principal() AS p, timestamp() AS ts,"
    " traceid() AS x FROM 'wattpost/batches/+'"
)
RULE_SQL_VERSION = "2016-03-23"  # unset it is 2015-10-08, which has no encode()
BOX = "${iot:Connection.Thing.ThingName}"
RECEIPTS_ANY = "wattpost/{box}/receipts"

FUNCTION_TIMEOUT = Duration.seconds(30)
VISIBILITY_TIMEOUT = Duration.seconds(180)  # six times the function's time-out, as AWS advises
RECEIVES_MAX = 5
BATCH_MESSAGES = 50
BATCH_WINDOW = Duration.seconds(1)
RESERVED_CONCURRENCY = 20
QUEUE_CONCURRENCY = 16  # below what is reserved: the poller then never runs into throttles that count as receives
QUEUE_CONCURRENCY_MIN = 2  # SQS's own limit
DEAD_LETTER_DAYS = 14
LOG_DAYS = aws_logs.RetentionDays.ONE_MONTH
ARCHIVE_COLD_DAYS = 90


def build(stack: Stack) -> None:
    """Everything into `stack`."""
    code = aws_lambda.Code.from_cfn_parameters(
        bucket_name_param=CfnParameter(stack, "CodeBucket", description="Bucket that holds the receiver's zip"),
        object_key_param=CfnParameter(stack, "CodeKey", description="Key of the receiver's zip in that bucket"),
    )
    reserved = CfnParameter(
        stack,
        "ReservedConcurrency",
        type="Number",
        default=RESERVED_CONCURRENCY,
        min_value=QUEUE_CONCURRENCY_MIN + 1,
        description="Invocations of the receiver at once, at most; more than QueueConcurrency. An account with a quota"
        " of 10 must ask AWS for more first: 100 stay unreserved",
    )
    at_once = CfnParameter(
        stack,
        "QueueConcurrency",
        type="Number",
        default=QUEUE_CONCURRENCY,
        min_value=QUEUE_CONCURRENCY_MIN,
        description="Invocations for messages of the queue at once, at most",
    )
    dead_letters = _queue(stack, "DeadLetters", retention_period=Duration.days(DEAD_LETTER_DAYS))
    queue = _queue(
        stack,
        "Batches",
        visibility_timeout=VISIBILITY_TIMEOUT,
        retention_period=Duration.days(DEAD_LETTER_DAYS),
        dead_letter_queue=aws_sqs.DeadLetterQueue(queue=dead_letters, max_receive_count=RECEIVES_MAX),
    )
    table = _table(stack)
    bucket = _bucket(stack)
    function = _receiver(stack, code, queue, dead_letters, table, bucket)
    function.node.default_child.reserved_concurrent_executions = reserved.value_as_number
    function.add_event_source(
        aws_lambda_event_sources.SqsEventSource(
            queue,
            batch_size=BATCH_MESSAGES,
            max_batching_window=BATCH_WINDOW,
            max_concurrency=at_once.value_as_number,
            report_batch_item_failures=True,
        )
    )
    _rule(stack, queue, dead_letters)
    _box_policy(stack)
    for name, value in {
        "Table": table.table_name,
        "Bucket": bucket.bucket_name,
        "QueueUrl": queue.queue_url,
        "DeadLetterQueueUrl": dead_letters.queue_url,
        "Function": function.function_name,
        "Rule": RULE,
        "BoxPolicy": POLICY,
        "BatchTopic": f"$aws/rules/{RULE}/{{box}}",
        "ReceiptTopic": RECEIPTS_ANY,
    }.items():
        CfnOutput(stack, f"{name}Output", value=value).override_logical_id(name)
    acknowledge(stack)


def acknowledge(stack: Stack) -> None:
    """Findings of cdk-nag that stay, with the reason."""
    names = "The names are not known before: objects are named by content, and every box has its own topic"
    for rule, reason in {
        "S1": "Only the function writes and only operators read; access logs would cost more than the archive",
        "IAM5[Resource::<ArchiveDA4CB258.Arn>/archive/*]": names,
        "IAM5[Resource::<ArchiveDA4CB258.Arn>/quarantine/*]": names,
        "IAM5[Resource::arn:<AWS::Partition>:iot:<AWS::Region>:<AWS::AccountId>:topic/wattpost/*/receipts]": names,
    }.items():
        Validations.of(stack).acknowledge(Acknowledgment(id=f"AwsSolutions::AwsSolutions-{rule}", reason=reason))


def _queue(stack: Stack, name: str, **options: object) -> aws_sqs.Queue:
    return aws_sqs.Queue(stack, name, encryption=aws_sqs.QueueEncryption.SQS_MANAGED, enforce_ssl=True, **options)


def _table(stack: Stack) -> aws_dynamodb.Table:
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


def _bucket(stack: Stack) -> aws_s3.Bucket:
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
                        transition_after=Duration.days(ARCHIVE_COLD_DAYS),
                    )
                ],
            ),
            aws_s3.LifecycleRule(
                id="tidy",
                abort_incomplete_multipart_upload_after=Duration.days(7),
                noncurrent_version_expiration=Duration.days(ARCHIVE_COLD_DAYS),
            ),
        ],
    )


def _receiver(
    stack: Stack,
    code: aws_lambda.Code,
    queue: aws_sqs.Queue,
    dead_letters: aws_sqs.Queue,
    table: aws_dynamodb.Table,
    bucket: aws_s3.Bucket,
) -> aws_lambda.Function:
    role = aws_iam.Role(stack, "ReceiverRole", assumed_by=aws_iam.ServicePrincipal("lambda.amazonaws.com"))
    logs = aws_logs.LogGroup(stack, "ReceiverLogs", retention=LOG_DAYS, removal_policy=RemovalPolicy.DESTROY)
    logs.grant_write(role)
    _allow(role, ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:Query"], table.table_arn)
    _allow(role, ["s3:PutObject"], bucket.arn_for_objects("archive/*"), bucket.arn_for_objects("quarantine/*"))
    _allow(role, ["iot:Publish"], _iot_arn("topic", "wattpost/*/receipts"))
    _allow(role, ["sqs:SendMessage"], dead_letters.queue_arn)
    function = aws_lambda.Function(
        stack,
        "Receiver",
        code=code,
        handler="cloud.doors.sqs.handler",
        runtime=aws_lambda.Runtime.PYTHON_3_14,
        architecture=aws_lambda.Architecture.ARM_64,
        memory_size=256,
        timeout=FUNCTION_TIMEOUT,
        log_group=logs,
        role=role.without_policy_updates(),
        environment={"TABLE": table.table_name, "BUCKET": bucket.bucket_name, "RECEIPTS": RECEIPTS_ANY},
        # for the rule's direct event (an asynchronous invocation); messages of the queue have its own dead letters
        on_failure=aws_lambda_destinations.SqsDestination(dead_letters),
        retry_attempts=2,
    )
    _allow(role, ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], queue.queue_arn)
    return function


def _rule(stack: Stack, queue: aws_sqs.Queue, dead_letters: aws_sqs.Queue) -> None:
    role = aws_iam.Role(
        stack,
        "RuleRole",
        assumed_by=aws_iam.ServicePrincipal(
            "iot.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
        ),
    )
    _allow(role, ["sqs:SendMessage"], queue.queue_arn, dead_letters.queue_arn)
    queue.add_to_resource_policy(
        aws_iam.PolicyStatement(
            sid="OnlyTheRuleSends",
            effect=aws_iam.Effect.DENY,
            principals=[aws_iam.AnyPrincipal()],
            actions=["sqs:SendMessage"],
            resources=[queue.queue_arn],
            conditions={"ArnNotEquals": {"aws:PrincipalArn": role.role_arn}},
        )
    )
    aws_iot.CfnTopicRule(
        stack,
        "Rule",
        rule_name=RULE,
        topic_rule_payload=aws_iot.CfnTopicRule.TopicRulePayloadProperty(
            description="Batches of the boxes, unchanged, to the receiver's queue",
            sql=RULE_SQL,
            aws_iot_sql_version=RULE_SQL_VERSION,
            rule_disabled=False,
            actions=[_to_queue(queue, role)],
            error_action=_to_queue(dead_letters, role),
        ),
    )


def _to_queue(queue: aws_sqs.Queue, role: aws_iam.Role) -> aws_iot.CfnTopicRule.ActionProperty:
    return aws_iot.CfnTopicRule.ActionProperty(
        sqs=aws_iot.CfnTopicRule.SqsActionProperty(queue_url=queue.queue_url, role_arn=role.role_arn, use_base64=False)
    )


def _box_policy(stack: Stack) -> None:
    """A box connects as its thing, with a certificate attached to that thing; it sends batches and hears receipts."""

    def allow(action: str, resource: str) -> dict[str, object]:
        return {"Effect": "Allow", "Action": action, "Resource": resource}

    aws_iot.CfnPolicy(
        stack,
        "BoxPolicy",
        policy_name=POLICY,
        policy_document={
            "Version": "2012-10-17",
            "Statement": [
                allow("iot:Connect", _iot_arn("client", BOX))
                | {"Condition": {"Bool": {"iot:Connection.Thing.IsAttached": "true"}}},
                allow("iot:Publish", _iot_arn("topic", f"$aws/rules/{RULE}/{BOX}")),
                allow("iot:Subscribe", _iot_arn("topicfilter", f"wattpost/{BOX}/receipts")),
                allow("iot:Receive", _iot_arn("topic", f"wattpost/{BOX}/receipts")),
            ],
        },
    )


def _iot_arn(kind: str, name: str) -> str:
    return f"arn:{Aws.PARTITION}:iot:{Aws.REGION}:{Aws.ACCOUNT_ID}:{kind}/{name}"


def _allow(role: aws_iam.Role, actions: list[str], *resources: str) -> None:
    role.add_to_policy(aws_iam.PolicyStatement(actions=actions, resources=list(resources)))
