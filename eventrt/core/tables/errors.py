"""What is wrong with a table request, in DynamoDB's words."""


class TableError(Exception):
    """A request that DynamoDB refuses with a ValidationException; the message is DynamoDB's sentence."""


class Malformed(Exception):  # noqa: N818 - the wire's word: it becomes a SerializationException
    """An attribute value that is not of the JSON type which the wire has for it."""


class ConditionFailed(Exception):  # noqa: N818 - the field's word
    """The item as it stands does not meet the request's condition."""
