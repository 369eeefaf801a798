"""AWS's service models, read as data out of the installed botocore distribution.

Nothing of botocore's code is imported: its folder is found, and the newest `service-2.json(.gz)` of a service is
read when the first request needs it. What the models do not say (names the Query protocol still uses, codes and
statuses of errors) is added from `overlays`.
"""

import gzip
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, cast

import orjson

from eventrt.aws.protocol import overlays
from eventrt.errors import ConfigurationError

Shape = dict[str, Any]
"""One shape as botocore writes it: `type`, `members`, `required`, `min`, `max`, `pattern`, `enum`, ..."""

Ref = dict[str, Any]
"""A reference to a shape: `{"shape": name, "location": ..., "locationName": ...}`."""


class ServiceModel:
    """One service's model: its metadata, its operations and its shapes, without the documentation.

    Attributes:
        id: the folder in botocore's data: `sqs`, `lambda`, `iam`.
        protocols: those the service speaks, AWS's preferred one first.
    """

    def __init__(self, service_id: str, raw: dict[str, Any]) -> None:
        self.id = service_id
        self.metadata: dict[str, Any] = raw["metadata"]
        self.operations: dict[str, dict[str, Any]] = raw["operations"]
        self.shapes: dict[str, Shape] = raw["shapes"]
        self.api_version: str = self.metadata["apiVersion"]
        self.target_prefix: str = self.metadata.get("targetPrefix", "")
        self.signing_name: str = self.metadata.get("signingName", self.metadata["endpointPrefix"])
        self.endpoint_prefix: str = self.metadata["endpointPrefix"]
        self.xml_namespace: str = self.metadata.get("xmlNamespace") or overlays.XML_NAMESPACES.get(service_id, "")
        self.is_query_compatible = "awsQueryCompatible" in self.metadata
        protocols = self.metadata.get("protocols") or [self.metadata["protocol"]]
        self.protocols: tuple[str, ...] = tuple(protocols) + overlays.MORE_PROTOCOLS.get(service_id, ())
        if "query" in self.protocols and not self.xml_namespace:
            self.xml_namespace = f"http://{self.endpoint_prefix}.amazonaws.com/doc/{self.api_version}/"

    def shape(self, ref: Ref) -> Shape:
        """Return the shape a reference points to."""
        return self.shapes[ref["shape"]]

    def input_shape(self, operation: str) -> tuple[str, Shape]:
        """Return name and shape of an operation's input; an empty structure when it has none."""
        return self._top(operation, "input")

    def output_shape(self, operation: str) -> tuple[str, Shape]:
        """Return name and shape of an operation's output; an empty structure when it has none."""
        return self._top(operation, "output")

    def _top(self, operation: str, side: str) -> tuple[str, Shape]:
        ref = self.operations[operation].get(side)
        if ref is None:
            return "", {"type": "structure", "members": {}}
        return ref["shape"], self.shapes[ref["shape"]]


def find_data_folder() -> Path:
    """Return botocore's `data` folder without importing botocore.

    Raises: ConfigurationError: botocore is not installed beside eventrt.
    """
    spec = importlib.util.find_spec("botocore")  # a top-level name: found, not imported
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / "data"
        if folder.is_dir():
            return folder
    raise ConfigurationError("the AWS service models are missing: install botocore beside eventrt")


@cache
def load(service_id: str) -> ServiceModel:
    """Return the model of a service, read once; 1 to 10 ms for the first call.

    Raises: ConfigurationError: botocore has no such service.
    """
    folder = find_data_folder() / service_id
    versions = sorted((v for v in folder.iterdir() if v.is_dir()), reverse=True) if folder.is_dir() else []
    for version in versions:
        packed, plain = version / "service-2.json.gz", version / "service-2.json"
        if packed.is_file():
            raw = gzip.decompress(packed.read_bytes())
        elif plain.is_file():
            raw = plain.read_bytes()
        else:
            continue
        return ServiceModel(service_id, _slim(cast(dict[str, Any], orjson.loads(raw)), service_id))
    raise ConfigurationError(f"botocore has no service model named {service_id!r}; a newer botocore may have it")


def _slim(raw: dict[str, Any], service_id: str) -> dict[str, Any]:
    """Drop the documentation (nine tenths of a model) and lay the overlays of the service on its shapes."""
    raw.pop("documentation", None)
    for part in (raw["operations"], raw["shapes"]):
        for item in part.values():
            item.pop("documentation", None)
    for shape in raw["shapes"].values():
        for member in shape.get("members", {}).values():
            member.pop("documentation", None)
    for name, more in overlays.SHAPES.get(service_id, {}).items():
        if name in raw["shapes"]:
            raw["shapes"][name] |= more
    return raw
