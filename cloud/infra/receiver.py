"""The receiver function: its code, its limits, its rights, and the queue that invokes it."""

from __future__ import annotations

from aws_cdk import (
    CfnParameter,
    Duration,
    RemovalPolicy,
    Stack,
    aws_dynamodb,
    aws_iam,
    aws_lambda,
    aws_lambda_destinations,
    aws_lambda_event_sources,
    aws_logs,
    aws_s3,
)

from cloud.infra.names import RECEIPT_TOPIC, iot_arn, topic_of
from cloud.infra.permissions import allow
from cloud.infra.queues import Queues

HANDLER = "cloud.doors.sqs.handler"
TIMEOUT = Duration.seconds(30)
MEMORY_MB = 256
BATCH_MESSAGES = 50
BATCH_WINDOW = Duration.seconds(1)
RESERVED_CONCURRENCY = 20
QUEUE_CONCURRENCY = 16  # fewer than reserved: else the poller is throttled, and each throttle counts as a receive
QUEUE_CONCURRENCY_MIN = 2  # SQS's own limit
LOG_DAYS = aws_logs.RetentionDays.ONE_MONTH


def receiver(stack: Stack, queues: Queues, table: aws_dynamodb.Table, bucket: aws_s3.Bucket) -> aws_lambda.Function:
    """The function, invoked by the queue or by the rule itself."""
    code = _code(stack)
    reserved, at_once = _concurrency(stack)
    logs, role = _logs_and_role(stack, queues, table, bucket)
    function = aws_lambda.Function(
        stack,
        "Receiver",
        code=code,
        handler=HANDLER,
        runtime=aws_lambda.Runtime.PYTHON_3_14,
        architecture=aws_lambda.Architecture.ARM_64,
        memory_size=MEMORY_MB,
        timeout=TIMEOUT,
        log_group=logs,
        role=role.without_policy_updates(),
        environment={"TABLE": table.table_name, "BUCKET": bucket.bucket_name, "RECEIPTS": RECEIPT_TOPIC},
        # for the direct event of the rule (an asynchronous invocation); the queue has its own dead letters
        on_failure=aws_lambda_destinations.SqsDestination(queues.dead_letters),
        retry_attempts=2,
    )
    function.node.default_child.reserved_concurrent_executions = reserved.value_as_number
    function.add_event_source(
        aws_lambda_event_sources.SqsEventSource(
            queues.batches,
            batch_size=BATCH_MESSAGES,
            max_batching_window=BATCH_WINDOW,
            max_concurrency=at_once.value_as_number,
            report_batch_item_failures=True,
        )
    )
    return function


def _code(stack: Stack) -> aws_lambda.Code:
    """Two parameters, so that the template does not change when the code does."""
    return aws_lambda.Code.from_cfn_parameters(
        bucket_name_param=CfnParameter(stack, "CodeBucket", description="Bucket that holds the receiver's zip"),
        object_key_param=CfnParameter(stack, "CodeKey", description="Key of the receiver's zip in that bucket"),
    )


def _concurrency(stack: Stack) -> tuple[CfnParameter, CfnParameter]:
    """Reserved for the function, and used by the queue."""
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
    return reserved, at_once


def _logs_and_role(
    stack: Stack, queues: Queues, table: aws_dynamodb.Table, bucket: aws_s3.Bucket
) -> tuple[aws_logs.LogGroup, aws_iam.Role]:
    """The function may read and write items, create objects, publish receipts, and use its queues. It cannot delete."""
    role = aws_iam.Role(stack, "ReceiverRole", assumed_by=aws_iam.ServicePrincipal("lambda.amazonaws.com"))
    logs = aws_logs.LogGroup(stack, "ReceiverLogs", retention=LOG_DAYS, removal_policy=RemovalPolicy.DESTROY)
    logs.grant_write(role)
    allow(role, ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:Query"], table.table_arn)
    allow(role, ["s3:PutObject"], bucket.arn_for_objects("archive/*"), bucket.arn_for_objects("quarantine/*"))
    allow(role, ["iot:Publish"], iot_arn("topic", topic_of(RECEIPT_TOPIC, "*")))
    allow(role, ["sqs:SendMessage"], queues.dead_letters.queue_arn)
    allow(role, ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], queues.batches.queue_arn)
    return logs, role
