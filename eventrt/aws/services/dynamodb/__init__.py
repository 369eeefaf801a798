"""Amazon DynamoDB at the door: tables, items, ranges, batches, transactions and statements.

The handlers check a request by the rules of `core.tables`, run one unit of work on the shelf (`sources.tables`), and
put the answer into DynamoDB's words. Items come and go as the JSON they are (`overlays.Policy.raw`).
"""

from eventrt.aws.services.dynamodb.batches import Batches
from eventrt.aws.services.dynamodb.destinations import Destinations
from eventrt.aws.services.dynamodb.items import Items
from eventrt.aws.services.dynamodb.reading import Reading
from eventrt.aws.services.dynamodb.settings import Settings
from eventrt.aws.services.dynamodb.statements import Statements
from eventrt.aws.services.dynamodb.tables import Tables
from eventrt.aws.services.dynamodb.transactions import Transactions

__all__ = ["DynamoDbService"]


class DynamoDbService(Items, Reading, Batches, Transactions, Statements, Tables, Settings, Destinations):
    """The DynamoDB service: one object for the dispatcher."""
