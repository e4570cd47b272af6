"""The check of a data folder and its store: every problem with the declarations, the artifacts and the links."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from phyagi_assets.declare.catalog import nothing_declared, read_catalog
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.inspection.declarations import declaration_problems
from phyagi_assets.inspection.integrity import discard_damaged, links_in_loops, store_problems, tokenizer_problems
from phyagi_assets.inspection.report import Record, Report
from phyagi_assets.steps.flow import FLOW
from phyagi_assets.steps.step import Scope, Workspace
from phyagi_assets.tokenizers.prepare import tokenizer_store

Kind = Literal["declaration", "artifact", "link"]
"""Kinds of problems."""


class Problem(Record):
    """One problem."""

    kind: Kind
    """Location of the problem: a declaration or a file that it names, an artifact, or a symbolic link."""
    message: str
    address: str | None = None
    """Address of the artifact; None for other problems."""
    is_damage: bool = False
    """Whether ``--discard`` removes the version, so that it is built again."""


class CheckReport(Report):
    """The problems with the declarations and the store."""

    report: Literal["check"] = "check"
    version: Literal[1] = 1
    declarations: int
    """Number of declarations that were checked."""
    artifacts: int
    """Number of artifacts that were checked."""
    problems: tuple[Problem, ...]
    left_out: dict[str, str]
    """One line on the files that its source leaves out, by corpus; these are not a problem."""
    left_alone: tuple[str, ...]
    """Files, links and folders in the store that the store did not create, and damaged versions that were not removed, with the reason."""
    discarded: tuple[str, ...]
    """Addresses of the damaged versions that were removed."""

    def has(self, kind: Kind) -> bool:
        """Return whether there is a problem of a kind."""
        return any(problem.kind == kind for problem in self.problems)


def check_everything(workspace: Workspace, linked: Sequence[Path], *, discard: bool = False) -> CheckReport:
    """Check all declarations, all published artifacts, and all links in the data folder and in the folders `linked`."""
    store = workspace.store
    declarations: list[str] = []
    artifacts: list[str] = []
    left_out: dict[str, str] = {}
    tokenizers = tokenizer_store(store)
    prepared = list(tokenizer_problems(tokenizers))  # the check of declarations prepares damaged ones again
    problems = [
        Problem(kind="declaration", message=found) for found in declaration_problems(workspace, declarations.append, left_out.__setitem__)
    ]
    stored = list(store_problems(store, artifacts.append))
    if not declarations and not problems and not artifacts:
        problems.append(Problem(kind="declaration", message=nothing_declared(workspace.data)))
    problems += [
        Problem(kind="artifact", message=str(found), address=found.address, is_damage=found.version is not None)
        for found in (*stored, *prepared)
    ]
    loops = links_in_loops([workspace.data, *linked])
    problems += [Problem(kind="link", message=_loop(link)) for link in loops]
    blocking, left_alone = _foreign(workspace, loops)
    problems += blocking
    discarded: list[str] = []
    if discard:
        store.remove_abandoned_files(everywhere=True)
        for checked, damaged in ((store, stored), (tokenizers, prepared)):
            gone, left = discard_damaged(checked, damaged)
            discarded += gone
            left_alone += left
    return CheckReport(
        declarations=len(declarations),
        artifacts=len(artifacts),
        problems=tuple(problems),
        left_out=left_out,
        left_alone=tuple(left_alone),
        discarded=tuple(discarded),
    )


def _foreign(workspace: Workspace, loops: Collection[Path]) -> tuple[list[Problem], list[str]]:
    """Return the problems with foreign entries in the places of pointers, and messages about other foreign entries."""
    foreign = [each for each in workspace.store.survey().foreign if each.path not in loops]
    places = _places(workspace) if foreign and not workspace.store.is_remote else {}
    message = "{}, where the store keeps the pointer of an artifact; move it away"
    blocking = [
        Problem(kind="artifact", message=message.format(each), address=places[each.path]) for each in foreign if each.path in places
    ]
    return blocking, [str(each) for each in foreign if each.path not in places]


def _places(workspace: Workspace) -> dict[Path | str, str]:
    """Return the addresses of all artifacts that are declared, by the path of their pointers."""
    catalog, _ = read_catalog(workspace.data)
    addresses = [step.address(name) for step in FLOW.in_scope(Scope.MIXTURE) for name in catalog.mixtures]
    for name, corpus in catalog.corpora.items():
        with suppress(PhyagiAssetsError):  # a source that cannot be listed is reported separately
            addresses += [
                step.address(name, key) for key in workspace.sources.partitions(corpus) for step in FLOW.in_scope(Scope.PARTITION)
            ]
    return {workspace.store.pointer(address): address for address in addresses}


def _loop(link: Path) -> str:
    return (
        f"{link}: is a link in a loop: it leads to {link.readlink()}, and from there back to itself or into another loop; remove it, "
        "or link it to an existing file or folder"
    )
