"""Find the plan of a materialized mixture."""

from pathlib import Path

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.plan import PLAN
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.formats.plan_paths import plan_folder
from phyagi_assets.paths import real_path
from phyagi_assets.settings import Settings
from phyagi_assets.store.base import is_part
from phyagi_assets.store.local import LocalStore

_STEP = "mixed_dataset"


def find_plan(mixture: str | Path, store: str | Path | None = None) -> Path:
    """Return the ``mixture.json`` of a mixture, as a path through the store.

    Parameters
    ----------
    mixture
        Name of the mixture, or the path of a ``mixture.json`` or of its folder.
    store
        The store in which a name is looked up; by default ``$PHYAGI_ASSETS_STORE``, else the data folder's own.

    Raises
    ------
    StoreError
        The mixture does not exist, or its plan cannot be read.
    """
    path = Path(mixture)
    if not path.is_file() and not (path / PLAN).is_file():  # a folder can have the name of a mixture without being one
        stored = LocalStore(Settings.resolve(store=store).store)
        published = stored.pointer(f"{mixture}/{_STEP}") if is_part(str(mixture)) else None
        if published is None or not published.exists():
            found = ", ".join(address.name for address in stored.list() if address.step == _STEP) or "none"
            raise StoreError(
                f"{mixture!r} is neither a path nor a mixture materialized in {stored} (there: {found}); "
                f"materialize it with: phyagi-assets materialize {mixture}"
            )
        path = published
    file = path / PLAN if path.is_dir() else path
    return _path_among_versions(plan_folder(file) / real_path(file).name)


def _path_among_versions(file: Path) -> Path:
    """Return the path of the plan among the versions if a copy of the store without links has turned the pointer into a folder."""
    folder = file.parent
    if folder.name != _STEP:
        return file
    store = LocalStore(folder.parents[1])
    version = store.version_path(f"{folder.parent.name}/{_STEP}", read_plan(file).fingerprint) / PLAN
    if not version.is_file():
        raise StoreError(
            f"{file}: is in a folder that should be a link: the store was copied without its links; restore them with: "
            f"phyagi-assets materialize {folder.parent.name}"
        )
    return version
