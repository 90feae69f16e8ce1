"""What AWS holds for a fleet: IoT rule -> SQS -> Lambda -> DynamoDB + S3, and the policy of a box. One file per part.

The parts are functions, not `Construct` classes: a construct would add its name to the logical ids of its resources,
and CloudFormation replaces a resource whose logical id changes.
"""

from __future__ import annotations

from aws_cdk import Acknowledgment, CfnOutput, Stack, Validations

from cloud.infra.box_policy import box_policy
from cloud.infra.names import BATCH_TOPIC, POLICY, RECEIPT_TOPIC, RULE
from cloud.infra.queues import queues
from cloud.infra.receiver import receiver
from cloud.infra.rule import rule
from cloud.infra.storage import bucket, table


def build(stack: Stack) -> None:
    """Everything into `stack`."""
    our_queues = queues(stack)
    our_table, our_bucket = table(stack), bucket(stack)
    function = receiver(stack, our_queues, our_table, our_bucket)
    rule(stack, our_queues)
    box_policy(stack)
    outputs = {
        "Table": our_table.table_name,
        "Bucket": our_bucket.bucket_name,
        "QueueUrl": our_queues.batches.queue_url,
        "DeadLetterQueueUrl": our_queues.dead_letters.queue_url,
        "Function": function.function_name,
        "Rule": RULE,
        "BoxPolicy": POLICY,
        "BatchTopic": BATCH_TOPIC,
        "ReceiptTopic": RECEIPT_TOPIC,
    }
    for name, value in outputs.items():
        CfnOutput(stack, f"{name}Output", value=value).override_logical_id(name)
    acknowledge(stack)


def acknowledge(stack: Stack) -> None:
    """Findings of cdk-nag that stay, with the reason."""
    names = "The names are not known before: objects are named by content, and every box has its own topic"
    for finding, reason in {
        "S1": "Only the function writes and only operators read; access logs would cost more than the archive",
        "IAM5[Resource::<ArchiveDA4CB258.Arn>/archive/*]": names,
        "IAM5[Resource::<ArchiveDA4CB258.Arn>/quarantine/*]": names,
        "IAM5[Resource::arn:<AWS::Partition>:iot:<AWS::Region>:<AWS::AccountId>:topic/wattpost/*/receipts]": names,
    }.items():
        Validations.of(stack).acknowledge(Acknowledgment(id=f"AwsSolutions::AwsSolutions-{finding}", reason=reason))
