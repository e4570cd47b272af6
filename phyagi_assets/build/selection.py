"""The targets of a command: corpora, mixtures, single partitions of corpora, and the step at which building stops."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from phyagi_assets.declare.catalog import Catalog, Corpus
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formatting import listed
from phyagi_assets.sources.files import Partition
from phyagi_assets.sources.listing import Sources
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.step import Scope
from phyagi_assets.suggestions import suggesting


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedCorpus:
    """The partitions of a corpus, as its source lists them."""

    corpus: Corpus
    partitions: Mapping[str, Partition]
    """All partitions, by key."""
    chosen: Mapping[str, Partition]
    """The partitions that a command is about, by key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The targets of a command."""

    catalog: Catalog
    flow: Flow
    partitions: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Keys of the chosen partitions, by corpus; a corpus that is not here is built as a whole."""

    @property
    def is_whole(self) -> bool:
        """Whether the corpora and mixtures are built as a whole, with all their partitions and steps."""
        return not self.partitions and self.flow == FLOW

    def listings(self, sources: Sources) -> Iterator[tuple[str, ListedCorpus | PhyagiAssetsError]]:
        """List the source of each corpus; yield the name of the corpus, and its partitions or the error of the listing.

        Raises
        ------
        PhyagiAssetsError
            A chosen partition is not in the source.
        """
        for name, corpus in self.catalog.corpora.items():
            try:
                found = sources.partitions(corpus)
            except PhyagiAssetsError as problem:
                yield name, problem
            else:
                yield name, ListedCorpus(corpus=corpus, partitions=found, chosen=self._chosen(name, found))

    def _chosen(self, corpus: str, found: Mapping[str, Partition]) -> Mapping[str, Partition]:
        keys = self.partitions.get(corpus)
        if keys is None:
            return found
        for key in keys:
            if key not in found:
                known = [*found, *(step.name for step in self.flow.in_scope(Scope.PARTITION))]
                hint = suggesting(key, known, f"its partitions: {listed(list(found), 20) or 'none'}")
                raise PhyagiAssetsError(f"{corpus}/{key}: {corpus} has neither a partition nor a step of this name{hint}")
        return {key: found[key] for key in keys}


def select(catalog: Catalog, names: Sequence[str]) -> Selection:
    """Parse the targets of a command; without any, everything is selected.

    ========================== ==============================================================================
    target                     meaning
    ========================== ==============================================================================
    ``MIXTURE``                the mixture and its corpora
    ``CORPUS``                 all partitions of the corpus
    ``CORPUS/PARTITION``       one partition
    ``CORPUS/STEP``            all partitions, up to and including a step
    ``CORPUS/STEP/PARTITION``  one partition, up to and including a step
    ``MIXTURE/mixed_dataset``  the same as ``MIXTURE``
    ========================== ==============================================================================

    Where a partition has the name of a step, ``CORPUS/NAME`` is the step.

    Raises
    ------
    DeclarationError
        The declaration of a target is broken.
    PhyagiAssetsError
        A target is not declared, or the targets end at different steps.
    """
    chosen: dict[str, set[str] | None] = {}
    ends: dict[str, str] = {}
    for target in names:
        name, step, key = _parsed(catalog, target)
        ends.setdefault(step, target)
        keys = chosen.setdefault(name, set())
        if key is None or keys is None:
            chosen[name] = None
        else:
            keys.add(key)
    if len(ends) > 1:
        (_, one), (_, other), *_ = ends.items()
        raise PhyagiAssetsError(f"{one} and {other} end at different steps; name them in two commands")
    selected = catalog.select(chosen)
    for mixture in selected.mixtures.values():
        chosen |= dict.fromkeys(mixture.config.corpora)
    partitions = {name: sorted(keys) for name, keys in chosen.items() if keys is not None}
    last = next(iter(ends), "")
    steps = [step.name for step in FLOW.steps]
    flow = Flow(steps=FLOW.steps[: steps.index(last) + 1]) if last else FLOW
    return Selection(catalog=selected, flow=flow, partitions=partitions)


def _parsed(catalog: Catalog, target: str) -> tuple[str, str, str | None]:
    """Return the name of a corpus or mixture, the step at which building stops, and the key of a partition of a target.

    The step is empty for the last one of the flow.
    """
    name, *parts = target.strip("/").split("/")
    catalog.select([name])
    in_mixture = name in catalog.mixtures
    steps = [step.name for step in FLOW.in_scope(Scope.MIXTURE if in_mixture else Scope.PARTITION)]
    step = parts.pop(0) if parts and parts[0] in steps else ""
    if in_mixture and parts:
        raise PhyagiAssetsError(f"{target}: {name} is a mixture, which has no partitions; name {name}")
    if len(parts) > 1:
        hint = suggesting(parts[0], steps, f"the steps: {', '.join(steps)}")
        raise PhyagiAssetsError(f"{target}: {parts[0]!r} is not a step of a corpus{hint}")
    return name, "" if step == steps[-1] else step, parts[0] if parts else None
