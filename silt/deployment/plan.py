"""A deployment that was read: what holds for each topic, with what is set for all merged in."""

from dataclasses import dataclass
from pathlib import Path

from handler.contract.contract import Contract
from silt.deployment.deploy_yml import Alarms, DeploymentModel, FunctionSection
from silt.deployment.mapping_section import Mapping
from silt.packaging.wheels import Platform


@dataclass(frozen=True, slots=True)
class TopicDeployment:
    """One topic with its contracts and what holds for it; `path` is its place in deploy.yml."""

    topic: str
    group: str
    contracts: tuple[Contract, ...]
    mapping: Mapping
    function: FunctionSection
    alarms: Alarms
    path: tuple[str | int, ...]

    @property
    def provisioned(self) -> bool:
        """Return whether the mapping has pollers of its own."""
        return self.mapping.pollers is not None

    @property
    def lag_metric(self) -> str:
        """Return AWS's metric of the lag: the mapping's own, or on demand the function's."""
        return "MaxOffsetLag" if self.provisioned else "OffsetLag"

    @property
    def on_failure(self) -> bool:
        """Return whether batches that AWS gives up on are kept in a bucket."""
        asked = self.mapping.on_failure
        return self.provisioned if asked is None else asked

    @property
    def partial_batch_response(self) -> bool:
        """Return whether single records are reported to the mapping.

        Not beside a mapping that goes away: CloudFormation removes it at the very end, so until
        then the function answers whichever there was.
        """
        asked = self.mapping.partial_batch_response
        return self.mapping.create and (self.provisioned if asked is None else asked)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment that may be made: the file, and each of its topics."""

    file: str
    model: DeploymentModel
    topics: tuple[TopicDeployment, ...]

    @property
    def contracts(self) -> Path:
        """Return the folder of the contracts, which deploy.yml names from where it lies."""
        return Path(self.file).parent / self.model.contracts

    @property
    def target(self) -> Platform:
        """Return what the artifacts are made for."""
        return Platform(self.model.architecture, self.model.python)

    @property
    def source(self) -> str | None:
        """Return the name that the cluster was given for stream ids, if it was given one."""
        cluster = self.model.msk or self.model.self_managed
        return cluster.name if cluster is not None else None

    @property
    def stream_source(self) -> str | None:
        """Return how stream ids name the cluster; None where that is made of what AWS sends."""
        if self.source is None and self.model.msk is not None:
            return self.model.msk.cluster_arn.rsplit("/", 1)[-1]
        return self.source
