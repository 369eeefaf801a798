"""Amazon Kinesis Data Streams at the door: every operation of its model that concerns streams, shards and consumers.

The handlers check a request, run one unit of work on the shelf (`sources.streams`), and put the answer into AWS's
words. Protocols (JSON, CBOR, event streams) are the codec's business.
"""

from eventrt.aws.services.kinesis.account import Account
from eventrt.aws.services.kinesis.consumers import Consumers
from eventrt.aws.services.kinesis.policies import Policies
from eventrt.aws.services.kinesis.putting import Putting
from eventrt.aws.services.kinesis.reading import Reading
from eventrt.aws.services.kinesis.shards import Shards
from eventrt.aws.services.kinesis.streams import Streams
from eventrt.aws.services.kinesis.subscriptions import Subscriptions
from eventrt.aws.services.kinesis.tags import Tags
from eventrt.aws.services.kinesis.upkeep import Upkeep

__all__ = ["KinesisService"]


class KinesisService(Putting, Reading, Streams, Shards, Consumers, Subscriptions, Upkeep, Tags, Policies, Account):
    """The Kinesis service: one object for the dispatcher."""
