"""The queue between the rule and the receiver, and the dead letters of both."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import Duration, Stack, aws_sqs

VISIBILITY_TIMEOUT = Duration.seconds(180)  # six times the time-out of the function, as AWS advises
RECEIVES_MAX = 5
RETENTION = Duration.days(14)


@dataclass(frozen=True)
class Queues:
    batches: aws_sqs.Queue
    dead_letters: aws_sqs.Queue


def queues(stack: Stack) -> Queues:
    """A message that failed `RECEIVES_MAX` times goes to the dead letters."""
    dead_letters = _queue(stack, "DeadLetters")
    batches = _queue(
        stack,
        "Batches",
        visibility_timeout=VISIBILITY_TIMEOUT,
        dead_letter_queue=aws_sqs.DeadLetterQueue(queue=dead_letters, max_receive_count=RECEIVES_MAX),
    )
    return Queues(batches, dead_letters)


def _queue(stack: Stack, name: str, **options: object) -> aws_sqs.Queue:
    return aws_sqs.Queue(
        stack,
        name,
        encryption=aws_sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        retention_period=RETENTION,
        **options,
    )
