"""What is wrong with a table request, in DynamoDB's words."""


class TableError(Exception):
    """A request that DynamoDB refuses with a ValidationException; the message is DynamoDB's sentence."""


class ConditionFailed(Exception):  # noqa: N818 - the field's word
    """The item as it stands does not meet the request's condition."""
