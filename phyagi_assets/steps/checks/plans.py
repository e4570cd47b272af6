"""The checks of a mixture's plan."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from phyagi_assets.declare.splits import SPLITS
from phyagi_assets.errors import StoreError
from phyagi_assets.formats import packed_index
from phyagi_assets.formats.npy import array_length
from phyagi_assets.formats.plan import PLAN, Plan, PlannedIndex, Shard
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.formats.plan_paths import PlanPaths
from phyagi_assets.formatting import counted, listed
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.steps.checks.check import Check
from phyagi_assets.store.addresses import Version
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store, find_version

ARRAYS = "arrays_are_there"
SAMPLES = "samples_add_up"
ORDER = "order_can_be_read"


def check_plan(artifact: Artifact, store: Store) -> list[Check]:
    """Check a plan: its arrays exist, its samples add up, and its order can be read.

    The arrays of a remote store are not fetched; the manifests of their versions are checked instead.
    """
    file = artifact.folder() / PLAN
    plan = read_plan(file)
    problems = list(array_problems(plan, file) if artifact.remote is None else remote_array_problems(plan, store))
    return [_arrays(plan, problems), _samples(plan), _order(plan, None if artifact.remote else file)]


def remote_array_problems(plan: Plan, store: Store) -> Iterator[str]:
    """Yield a description of each array of a plan that a remote store lacks, or has with another number of tokens than planned."""
    caches: dict[Version, Artifact | None] = {}
    for shard in _shards(plan):
        version = Version.in_path(shard.path)
        if version is None:
            yield f"{shard.path}, which is not in the store"
            continue
        if version not in caches:
            caches[version] = find_version(version, store)
        cache = caches[version]
        if cache is None:
            yield f"{shard.path}, which is not there"
            continue
        yield from (f"{path}, which is not there" for path, _ in shard.files if PurePosixPath(path).name not in cache.manifest.files)
        tokens = cache.manifest.counts.get(Path(shard.path).stem, {}).get("tokens", 0)
        if tokens != shard.tokens:
            yield f"{shard.path} with {counted(shard.tokens, 'token')}, which has {tokens:,}"
    for index in _indices(plan):
        version = Version.in_path(index.path)
        if version is None or store.find(version.address, version.fingerprint) is None:
            yield f"{index.path}, which is not there"


def array_problems(plan: Plan, file: Path) -> Iterator[str]:
    """Yield a description of each array of a plan that is missing, is not a token array, or has another number of tokens than planned.

    Parameters
    ----------
    file
        File that holds the plan; the paths of the arrays are relative to its folder.
    """
    paths = PlanPaths(plan, file.parent)
    for path, tokens in (file for shard in _shards(plan) for file in shard.files):
        yield from _length_problem(paths.resolve(path), path, "a token array", tokens, counted(tokens, "token"))
    for index in _indices(plan):
        for split, samples in index.samples.items():
            array = paths.resolve(index.path) / f"{split}{packed_index.SAMPLES}"
            planned = f"{counted(samples, 'sample')} of {split}"
            yield from _length_problem(array, index.path, "an index of packed samples", samples, planned, surplus=1)


def _length_problem(array: Path, name: str, kind: str, wanted: int, planned: str, *, surplus: int = 0) -> Iterator[str]:
    """Yield the problem with an array of a plan, if there is one.

    Parameters
    ----------
    name
        The path of the array or of its folder in the plan, for the message.
    surplus
        Number of rows that the array has in addition to the wanted ones.
    """
    try:
        length = array_length(array) - surplus
    except FileNotFoundError:
        yield f"{name}, which is not there"
    except PermissionError as problem:
        yield f"{name}, which cannot be read: {problem.strerror}"
    except (OSError, StoreError) as problem:
        yield f"{name}, which is not {kind}: {problem}"
    else:
        if length != wanted:
            yield f"{name} with {planned}, which has {length:,}"


def _shards(plan: Plan) -> list[Shard]:
    return [shard for partition in plan.all_partitions() for shard in partition.shards.values()]


def _indices(plan: Plan) -> list[PlannedIndex]:
    return [partition.index for partition in plan.all_partitions() if partition.index]


def _arrays(plan: Plan, problems: Sequence[str]) -> Check:
    shards = _shards(plan)
    tokens = sum(shard.tokens for shard in shards)
    otherwise = f"the plan's arrays ({len(shards):,}) are there, with its {counted(tokens, 'token')}"
    named = [f"the plan names {listed(problems, separator='; ')}"] if problems else []
    return Check.of(ARRAYS, named, otherwise, {"arrays": len(shards), "tokens": tokens, "arrays amiss": len(problems)})


def _samples(plan: Plan) -> Check:
    problems = []
    for segment in plan.segments:
        for source in segment.sources:
            corpus = plan.corpora[source.corpus]
            for group in source.groups:
                own = group.own_samples(corpus, plan.seq_len)
                if own != group.samples:
                    problems.append(
                        f"a group of {corpus.name!r} from position {segment.start:,} on has {counted(group.samples, 'sample')}, "
                        f"and its tokens make {own:,}"
                    )
    samples = plan.total("train", "samples")
    otherwise = (
        f"{counted(samples, 'training sample')} of {counted(plan.seq_len, 'token')}, as the arrays make them; "
        f"in no sample: {counted(plan.uncovered(), 'token')}"
    )
    numbers = {"samples": samples, "in an epoch": plan.current.drawn, "tokens in no sample": plan.uncovered()}
    return Check.of(SAMPLES, problems[:5], otherwise, numbers)


def _order(plan: Plan, file: Path | None) -> Check:
    """Open the order of every split, locate its first and last sample, and read the start of an array, as training does.

    Without the file of the plan, no array is read.
    """
    readable, problems = 0, list[str]()
    for split in SPLITS:
        try:
            if not plan.total(split, "samples"):
                continue
            order = MixtureOrder(plan, split)
            order.locate(np.array([0, len(order) - 1], dtype=np.int64))
            first = next(shard.files[0][0] for source in plan.current.sources for shard in plan.shards(source, split) if shard.tokens)
            if file:
                np.asarray(np.load(PlanPaths(plan, file.parent).resolve(first), mmap_mode="r")[: plan.seq_len]).sum()
        except (ArithmeticError, ValueError, LookupError, MemoryError, OSError, TypeError) as error:
            problems = [f"the order of {split} cannot be read: {error!r}; check the weights of {plan.name}"]
            break
        readable += 1
    return Check.of(ORDER, problems, "the order of each split can be read", {"splits": readable})
