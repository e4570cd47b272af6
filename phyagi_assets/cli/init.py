"""The command that creates a data folder."""

import shlex
import shutil
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

import click

from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.settings import Settings, local_folder


@verb(reports=False)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def init(output: Output, folder: Path) -> None:
    """Create a data folder with an example.

    The folder has a commented corpus and mixture, a tokenizer and a few documents. You can materialize it right away. DIR must be empty or
    not exist.
    """
    local_folder(folder, "data folder")  # refuses a URI
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as problem:
        raise PhyagiAssetsError(f"{folder}: cannot be created: {problem.strerror}; name another folder") from None
    if taken:
        raise PhyagiAssetsError(f"{folder} exists and is not empty; name a new or an empty folder")
    from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer

    try:
        with tempfile.TemporaryDirectory() as draft, as_file(files("phyagi_assets") / "templates") as templates:
            tokenizer = Path(draft) / "bytes"
            save_byte_tokenizer(tokenizer)  # first, because it may need a package that is not installed
            shutil.copytree(templates, folder, dirs_exist_ok=True)
            shutil.copytree(tokenizer, folder / "tokenizers" / "bytes")
    except OSError as problem:
        raise PhyagiAssetsError(f"{folder}: cannot be created: {problem.strerror or problem}; name another folder") from None
    named = "" if folder.absolute() == Settings.resolve().data.absolute() else f" --data {shlex.quote(str(folder))}"
    output.say(f"{folder} is ready. Next: phyagi-assets materialize{named}")
