"""The expression parameters of a request, and the older ones that do the same: never both in one request."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eventrt.aws.services.dynamodb.room import Request
from eventrt.core.tables import legacy
from eventrt.core.tables.conditions import Predicate
from eventrt.core.tables.errors import TableError
from eventrt.core.tables.expressions import Expressions
from eventrt.core.tables.paths import Path
from eventrt.core.tables.updates import Update
from eventrt.core.tables.values import Item, Value

Test = Callable[[Item], bool]

_LEGACY = (
    "AttributesToGet",
    "AttributeUpdates",
    "Expected",
    "KeyConditions",
    "QueryFilter",
    "ScanFilter",
    "ConditionalOperator",
)
_LEGACY_SET = frozenset(_LEGACY)
_TEXTS = (
    "ProjectionExpression",
    "UpdateExpression",
    "ConditionExpression",
    "FilterExpression",
    "KeyConditionExpression",
)


class Parameters:
    """The expressions of one request, parsed as they are asked for; `finish` refuses what none of them used.

    Args: texts: the expressions that the operation takes.
    Raises: TableError: old and new parameters together; names or values without an expression.
    """

    __slots__ = ("_request", "expressions")

    def __init__(self, request: Request, texts: Sequence[str]) -> None:
        self._request = request
        if not _LEGACY_SET.isdisjoint(request):
            _check_not_mixed(request)
        names, values = request.get("ExpressionAttributeNames"), request.get("ExpressionAttributeValues")
        if (names is not None or values is not None) and request.keys().isdisjoint(texts):
            if names is not None:
                raise TableError("ExpressionAttributeNames can only be specified when using expressions")
            takers = [text for text in texts if text != "ProjectionExpression"]
            verb = "is" if len(takers) == 1 else "are"
            raise TableError(
                f"ExpressionAttributeValues can only be specified when using expressions: "
                f"{' and '.join(takers)} {verb} null"
            )
        self.expressions = Expressions(names, values)

    def condition(self) -> Test | None:
        """Return ConditionExpression, or Expected, as a predicate; None when there is neither (raises TableError)."""
        request = self._request
        text = request.get("ConditionExpression")
        if text is not None:
            return self.expressions.condition("ConditionExpression", text)
        return self._old("Expected", legacy.expectation_of)

    def filter(self, old_member: str) -> Test | None:
        """Return FilterExpression, or its old form, as a predicate (raises TableError)."""
        text = self._request.get("FilterExpression")
        if text is not None:
            return self.expressions.condition("FilterExpression", text)
        return self._old(old_member, legacy.filter_of)

    def _old(
        self, member: str, translate: Callable[[Mapping[str, Any], str | None], tuple[Predicate, Any]]
    ) -> Test | None:
        said, operator = self._request.get(member), self._request.get("ConditionalOperator")
        if not said:
            if operator is not None:
                raise TableError("ConditionalOperator cannot be used without Filter or Expected")
            return None
        if operator is not None and len(said) == 1:
            raise TableError("ConditionalOperator can only be used when Filter or Expected has two or more elements")
        holds, values = translate(said, operator)
        return lambda item: holds(item, values)

    def update(self) -> tuple[Update, Mapping[str, Value]]:
        """Return UpdateExpression, or AttributeUpdates, and what its placeholders mean (raises TableError)."""
        text = self._request.get("UpdateExpression")
        if text is not None:
            return self.expressions.update(text), self.expressions.values
        return legacy.update_of(self._request.get("AttributeUpdates") or {})

    def projection(self) -> tuple[Path, ...] | None:
        """Return the paths of ProjectionExpression or AttributesToGet; None for all (raises TableError)."""
        text = self._request.get("ProjectionExpression")
        if text is not None:
            return self.expressions.projection(text)
        names = self._request.get("AttributesToGet")
        if names is None:
            return None
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise TableError(f"One or more parameter values were invalid: Duplicate value in attribute name: {twice}")
        return tuple((name,) for name in names)

    def finish(self) -> None:
        """Refuse names and values that nothing used (raises TableError)."""
        self.expressions.check_all_used()


def _check_not_mixed(request: Request) -> None:
    new = [name for name in _TEXTS if name in request]
    if new:
        old = [name for name in _LEGACY if name in request]
        raise TableError(
            "Can not use both expression and non-expression parameters in the same request: "
            f"Non-expression parameters: {{{', '.join(old)}}} Expression parameters: {{{', '.join(new)}}}"
        )
