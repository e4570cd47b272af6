"""Run the code blocks of a page, each by its language."""

import io
import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from click.testing import CliRunner

from docs.blocks import Block
from phyagi_assets.cli import main
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.declare.corpus_schema import CorpusConfig
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.removals import Removal
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.orchestration.component import catalog_definitions
from phyagi_assets.orchestration.progress import logged_progress
from phyagi_assets.sources.conversation_json import conversation_json
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.chat_template import ChatTemplate
from phyagi_assets.tokenizers.engine_pool import GIGATOKEN
from tests.command import command
from tests.support import declare, declare_corpus, write_text
from tests.tokenizers.faulty_engines import give_report

COMMAND = "phyagi-assets "
BUILDING = ("init", "materialize")
"""Commands that run in a forked process because they load engines and records. Others run in the process of the test."""
SHOWN_FOLDER = "/home/user"
"""Folder that the pages show in place of the real working directory."""
VARYING = (
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d\b"), "2026-11-27 22:10"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
    (re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{8}\b"), "0f1e2d3c"),
    (re.compile(r"\d+ s on this machine"), "1 s on this machine"),
    (re.compile(r"(?<=report\.html: )[\d.]+kB"), "10.5kB"),
    (re.compile(r"(?<=versions copied \()[\d.]+kB"), "64kB"),
    (re.compile(r"(?<=gigatoken )[\d.]+"), "0.10.0"),
)
"""Patterns of output that differs between runs, and the text that the pages show instead."""


def normalised(text: str, folder: Path) -> str:
    """Return output as the pages show it."""
    text = text.replace(str(folder), SHOWN_FOLDER)
    for pattern, replacement in VARYING:
        text = pattern.sub(replacement, text)
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join(lines).strip("\n") + "\n" if any(lines) else ""


@dataclass(kw_only=True)
class PageRun:
    """The blocks of a page, run in order in one folder and with one Python namespace."""

    folder: Path
    prepared_store: Path
    """Store with the report of a conformance run, which saves one in each data folder that `init` makes."""
    names: dict[str, Any] = field(default_factory=dict)
    """Names that the page's Python code takes for granted."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Texts of the page, such as the address of a bucket, and what stands in for them."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables that the page exports."""
    template: ChatTemplate | None = None
    """The chat template that the page shows."""

    def run(self, block: Block) -> Block:
        """Run a block; return it with what it prints in place of the output that the page shows.

        Raises
        ------
        AssertionError
            The block is wrong, or nothing can run its language.
        """
        code = block.code
        for text, other in self.replaced.items():
            code = code.replace(text, other)
        match block.language:
            case "python":
                return self._shown(block, self._python(code))
            case "sh":
                return self._shown(block, "".join(output for _, output in self._shell(code)))
            case "console":
                commands = re.findall(r"^\$ (.*)$", code, re.MULTILINE)
                printed = [f"$ {line}\n{normalised(output, self.folder)}" for each in commands for line, output in self._shell(each)]
                return replace(block, code="".join(printed))
            case "yaml":
                self._yaml(code)
            case "json":
                self._json(json.loads(code))
            case "jinja":
                self.template = ChatTemplate(code, {})
            case "text":
                assert not re.search(r"^(phyagi-assets |import |from |pip )", code, re.MULTILINE), "this is code: name its language"
            case other:
                raise AssertionError(f"no way to run {other or 'a block without a language'}")
        return block

    def _shown(self, block: Block, printed: str) -> Block:
        return block if block.output is None else replace(block, output=normalised(printed, self.folder))

    def _python(self, code: str) -> str:
        with redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, "<page>", "exec"), self.names)
        return printed.getvalue()

    def _shell(self, code: str) -> Iterator[tuple[str, str]]:
        """Yield each command with its output; those of this package run without a shell, all others in one."""
        other: list[str] = []
        for line in [*code.splitlines(), ""]:
            is_ours, is_export = line.startswith(COMMAND), line.startswith("export ")
            if other and (is_ours or is_export or not line):
                yield "\n".join(other), self._bash("\n".join(other))
                other = []
            if is_ours:
                yield line, self._command(line)
            elif is_export:
                name, _, value = shlex.split(line, comments=True)[1].partition("=")
                self.environment[name] = value
            elif line:
                other.append(line)

    def _bash(self, script: str, given: str = "") -> str:
        done = subprocess.run(["bash", "-e", "-c", script], cwd=self.folder, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _command(self, line: str) -> str:
        line, _, further = line.partition(" | ")
        words = shlex.split(line, comments=True)[1:]
        if words[0] in BUILDING:
            done = command(*words, cwd=self.folder, COLUMNS="100", **self.environment)
            code, printed, errors = done.returncode, done.stdout, done.stderr
        else:
            shown = CliRunner().invoke(main, words, env={"COLUMNS": "100", **self.environment})
            code, printed, errors = shown.exit_code, shown.stdout, shown.stderr
        assert code == 0, errors
        if words[0] == "init":
            data = self.folder / words[1]
            (corpus,) = load_catalog(data).corpora.values()
            give_report(corpus, GIGATOKEN.name, data, LocalStore(data / "store"), LocalStore(self.prepared_store))
        return self._bash(further, printed) if further else printed

    def _yaml(self, code: str) -> None:
        found = yaml.safe_load(code)
        if "ops" in found:
            self._run_configuration(found)
        else:
            declared = write_text(self.folder / "block.yaml", code)
            load_yaml(declared, CorpusConfig if "source" in found else MixtureConfig)

    def _run_configuration(self, found: dict[str, Any]) -> None:
        """Validate the configuration of the job that has its ops, with corpora and a mixture like those of the pages."""
        data = self.folder / "declared"
        for play in ("hamlet", "othello"):
            write_text(data / "raw" / f"{play}.txt", play)
        declare_corpus(data, "plays", "raw/*.txt", partition_by="file")
        declare(data, "mixtures", name="demo", datasets=[{"corpus": "plays"}])
        workspace = Workspace(data=data, store=LocalStore(data / "store"))
        definitions = catalog_definitions(load_catalog(data), workspace, logged_progress)
        jobs = [definitions.resolve_job_def(name) for name in ("plays_build_stale", "demo_build")]
        (job,) = (job for job in jobs if found["ops"].keys() <= {node.name for node in job.nodes})
        dg.validate_run_config(job, found)

    def _json(self, found: dict[str, Any]) -> None:
        if "messages" not in found:
            Removal(**found)
            return
        conversation_json(found["messages"])
        assert self.template
        rendered, parts = self.template.render_with_parts(found["messages"], None)
        assert all(message["content"] in rendered for message in found["messages"])
        assert len(parts) == sum(message["role"] == "assistant" for message in found["messages"])
