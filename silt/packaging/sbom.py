"""The bill of materials of an artifact, in CycloneDX."""

import json
import uuid
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

NAMESPACE = uuid.UUID("6f0c1e2a-53f7-4a06-9d0e-3a3c2f0b9a51")
"""For serial numbers that follow from what is listed."""
_CLASSIFIER = "License :: OSI Approved :: "


def bill(packages: Path, name: str, build: str) -> str:
    """Return the bill of what is installed in a folder, as the JSON of CycloneDX 1.6.

    It says the same for the same packages and build: no time, no random number.
    """
    components = [_component(result) for result in distributions(path=[str(packages)])]
    components.sort(key=lambda component: component.name)
    product = Component(
        name=name,
        version=build,
        type=ComponentType.APPLICATION,
        bom_ref=name,
        purl=PackageURL("pypi", name="silt-delta", version=build.split("+")[0]),
    )
    bom = Bom(
        serial_number=uuid.uuid5(NAMESPACE, f"{name} {build}"),
        metadata=BomMetaData(component=product),
        components=components,
    )
    bom.register_dependency(product, components)
    answer = json.loads(JsonV1Dot6(bom).output_as_string())
    del answer["metadata"]["timestamp"]  # optional, and another one each time
    return json.dumps(answer, indent=1, sort_keys=True) + "\n"


def _component(result: Distribution) -> Component:
    name = result.metadata["Name"].lower().replace("_", "-")
    purl = PackageURL("pypi", name=name, version=result.version)
    summary = _said(result, "Summary")
    return Component(
        name=name,
        version=result.version,
        type=ComponentType.LIBRARY,
        bom_ref=str(purl),
        purl=purl,
        description=summary[0] if summary else None,
        licenses=[LicenseFactory().make_from_string(license) for license in _licenses(result)],
    )


def _licenses(result: Distribution) -> list[str]:
    """Return what a package says of its license: an expression if it has one, else its words."""
    for key in ("License-Expression", "License"):
        if said := _said(result, key):
            return [said[0].splitlines()[0]]
    classifiers = _said(result, "Classifier")
    return [c.removeprefix(_CLASSIFIER) for c in classifiers if c.startswith(_CLASSIFIER)]


def _said(result: Distribution, key: str) -> list[str]:
    """Return the values of a key, none where it is not there: to ask for one would warn."""
    return [value for value in result.metadata.get_all(key) or [] if value]
