"""REST routes: which operation a method and a path mean, by the model's URI templates."""

from dataclasses import dataclass, field
from typing import Any

from eventrt.aws.protocol.models import ServiceModel
from eventrt.aws.protocol.query import decode_path

_RECENT_LIMIT = 4096
_RECENT_PATH_LIMIT = 512


@dataclass(slots=True)
class _Route:
    operation: str
    labels: tuple[str, ...]
    query: dict[str, str | None]
    """What the template itself demands of the query string; None is any value."""
    required: tuple[tuple[str, str], ...]
    """Required members of query string and headers: ("querystring" | "header", wire name)."""
    is_deprecated: bool
    """Superseded by another operation, often at the very same URI (S3's GetBucketLifecycle)."""


@dataclass(slots=True)
class _Node:
    literals: dict[str, "_Node"] = field(default_factory=dict)
    label: "_Node | None" = None
    routes: dict[str, list[_Route]] = field(default_factory=dict)
    greedy: dict[str, list[_Route]] = field(default_factory=dict)


class RouteTable:
    """The routes of one REST service, as a tree of path segments."""

    def __init__(self, model: ServiceModel) -> None:
        self._root = _Node()
        self._recent: dict[tuple[str, str], tuple[str, dict[str, str]]] = {}
        for name, operation in model.operations.items():
            self._add(name, operation, model)

    def _add(self, name: str, operation: dict[str, Any], model: ServiceModel) -> None:
        path, _, query = operation["http"]["requestUri"].partition("?")
        demanded: dict[str, str | None] = {}
        for part in query.split("&") if query else ():
            key, equals, value = part.partition("=")
            demanded[key] = value if equals else None
        _, shape = model.input_shape(name)
        required = tuple(
            (ref["location"], ref["locationName"].lower() if ref["location"] == "header" else ref["locationName"])
            for member, ref in shape["members"].items()
            if member in shape.get("required", ()) and ref.get("location") in ("querystring", "header")
        )
        node, labels, is_greedy = self._root, [], False
        for segment in path.strip("/").split("/") if path.strip("/") else ():
            if segment.startswith("{"):
                label = segment[1:-1]
                is_greedy = label.endswith("+")
                labels.append(label.rstrip("+"))
                if is_greedy:
                    break
                node.label = node.label or _Node()
                node = node.label
            else:
                node = node.literals.setdefault(segment, _Node())
        route = _Route(name, tuple(labels), demanded, required, bool(operation.get("deprecated")))
        table = node.greedy if is_greedy else node.routes
        routes = table.setdefault(operation["http"]["method"], [])
        routes.append(route)
        routes.sort(key=lambda one: (one.is_deprecated, -len(one.query), -len(one.required)))

    def find(self, method: str, path: str, query: dict[str, str], headers: Any) -> tuple[str, dict[str, str]] | None:
        """Return (operation, decoded labels) for a request, None when no template fits.

        Literal segments win over labels, labels over greedy ones; among templates of one path the one that demands
        most of the query string and headers wins, and a template is preferred when its required members are there.
        The labels belong to the table: do not change them.
        """
        recent = self._recent.get((method, path))
        if recent is not None:
            return recent
        segments = path.strip("/").split("/") if path.strip("/") else []
        found = self._search(self._root, segments, 0, [], method)
        if found is None:
            return None
        routes, values = found
        if len(routes) == 1 and not routes[0].query:
            answer = routes[0].operation, dict(zip(routes[0].labels, values, strict=True))
            if len(self._recent) >= _RECENT_LIMIT:
                self._recent.clear()
            if len(path) <= _RECENT_PATH_LIMIT:  # paths are the callers' words: keep few, and no long ones
                self._recent[method, path] = answer
            return answer
        fitting = [
            route
            for route in routes
            if all(key in query and (value is None or query[key] == value) for key, value in route.query.items())
        ]
        if not fitting:
            return None
        chosen = next((route for route in fitting if _has_required(route, query, headers)), fitting[-1])
        return chosen.operation, dict(zip(chosen.labels, values, strict=True))

    def _search(
        self, node: _Node, segments: list[str], index: int, values: list[str], method: str
    ) -> tuple[list[_Route], list[str]] | None:
        if index == len(segments):
            routes = node.routes.get(method)
            return (routes, values) if routes else None
        segment = segments[index]
        below = node.literals.get(segment)
        if below is not None:
            found = self._search(below, segments, index + 1, values, method)
            if found is not None:
                return found
        if node.label is not None and segment:
            found = self._search(node.label, segments, index + 1, [*values, decode_path(segment)], method)
            if found is not None:
                return found
        routes = node.greedy.get(method)
        if routes:
            return routes, [*values, decode_path("/".join(segments[index:]))]
        return None


def _has_required(route: _Route, query: dict[str, str], headers: Any) -> bool:
    return all(name in (headers if place == "header" else query) for place, name in route.required)
