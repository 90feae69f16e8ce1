"""The IoT rule, which puts each batch into the queue, and the queue's policy, which admits only the rule."""

from __future__ import annotations

from aws_cdk import Aws, Stack, aws_iam, aws_iot, aws_sqs

from cloud.infra.names import RULE
from cloud.infra.permissions import allow
from cloud.infra.queues import Queues

# `topic()` leaves out the Basic Ingest prefix, so its last segment is the box's name with and without Basic Ingest.
SQL = (
    "SELECT encode(*, 'base64') AS d, topic() AS t, clientid() AS c, principal() AS p, timestamp() AS ts,"
    " traceid() AS x FROM 'wattpost/batches/+'"
)
SQL_VERSION = "2016-03-23"  # the default is 2015-10-08, which has no encode()


def rule(stack: Stack, queues: Queues) -> None:
    """A message that the rule cannot put into the queue goes to the dead letters."""
    role = aws_iam.Role(
        stack,
        "RuleRole",
        assumed_by=aws_iam.ServicePrincipal(
            "iot.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
        ),
    )
    allow(role, ["sqs:SendMessage"], queues.batches.queue_arn, queues.dead_letters.queue_arn)
    _admit_only(queues.batches, role)
    aws_iot.CfnTopicRule(
        stack,
        "Rule",
        rule_name=RULE,
        topic_rule_payload=aws_iot.CfnTopicRule.TopicRulePayloadProperty(
            description="Batches of the boxes, unchanged, to the receiver's queue",
            sql=SQL,
            aws_iot_sql_version=SQL_VERSION,
            rule_disabled=False,
            actions=[_to_queue(queues.batches, role)],
            error_action=_to_queue(queues.dead_letters, role),
        ),
    )


def _admit_only(queue: aws_sqs.Queue, role: aws_iam.Role) -> None:
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


def _to_queue(queue: aws_sqs.Queue, role: aws_iam.Role) -> aws_iot.CfnTopicRule.ActionProperty:
    return aws_iot.CfnTopicRule.ActionProperty(
        sqs=aws_iot.CfnTopicRule.SqsActionProperty(queue_url=queue.queue_url, role_arn=role.role_arn, use_base64=False)
    )
