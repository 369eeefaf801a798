"""Amazon SQS at the door: every operation of its model, over AwsJson1.0 and Query.

The handlers check a request by the rules of `core`, run one unit of work on the shelf (`sources.queues`,
`sources.moves`), and put the answer into AWS's words. Protocols are the codec's business.
"""

from eventrt.aws.services.sqs.messages import Messages
from eventrt.aws.services.sqs.moves import Moves
from eventrt.aws.services.sqs.permissions import Permissions
from eventrt.aws.services.sqs.queues import Queues
from eventrt.aws.services.sqs.receiving import Receiving

__all__ = ["SqsService"]


class SqsService(Messages, Receiving, Queues, Permissions, Moves):
    """The SQS service: one object for the dispatcher."""
