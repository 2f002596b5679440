"""Amazon SQS, or a server that speaks its protocol, as a queue engine; needs the extra `fluxa[sqs]`."""

from fluxa.queue.backends.sqs.backend import SqsBackend
from fluxa.queue.backends.sqs.client import Sqs, SqsOptions

__all__ = ["Sqs", "SqsBackend", "SqsOptions"]
