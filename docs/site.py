"""Build the documentation site, with ``llms.txt`` for readers that are programs: ``python -m docs.site [FOLDER]``.

It needs the extra ``docs``. `mkdocs.yml` lists the pages; a broken link is an error.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
LLMS = "llms.txt"


class _Loader(yaml.SafeLoader):
    """Loader of `mkdocs.yml`, which has tags of its own."""


_Loader.add_multi_constructor("", lambda *_: None)


def configuration() -> dict[str, Any]:
    """Return the content of `mkdocs.yml`."""
    found: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)
    return found


def pages(nav: list[dict[str, Any]], section: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield section, title and file of each page, in order."""
    for entry in nav:
        for title, of in entry.items():
            if isinstance(of, str):
                yield section, title, of
            else:
                yield from pages(of, title)


def llms_text() -> str:
    """Return the list of pages as Markdown, each with its first paragraph."""
    config = configuration()
    lines, last = [f"# {config['site_name']}", "", f"> {config['site_description']}"], None
    for section, title, file in pages(config["nav"]):
        if section != last:
            lines += ["", f"## {section or ('Start' if last is None else 'Optional')}", ""]  # readers of llms.txt may skip "Optional"
            last = section
        about = _first_paragraph((ROOT / config["docs_dir"] / file).read_text(encoding="utf-8"))
        lines.append(f"- [{title}]({file.removesuffix('.md')}.html){f': {about}' if about else ''}")
    return "\n".join(lines) + "\n"


def _first_paragraph(text: str) -> str:
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    plain = next((part for part in paragraphs if part and not part.startswith(("#", "|", "!", "```", "*", "-", ":::"))), "")
    if plain.endswith(":"):  # a sentence that introduces what the page shows next
        plain = re.sub(r"(?<=[.!?]) [^.!?]*:$|:$", "", plain).rstrip(".") + "."
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)


def build(folder: Path) -> None:
    """Build the site in a folder.

    Raises
    ------
    subprocess.CalledProcessError
        A page is missing or a link is broken; the messages are on standard error.
    """
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder.absolute())]  # --quiet would hide broken links
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    (folder / LLMS).write_text(llms_text(), encoding="utf-8")


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site")
