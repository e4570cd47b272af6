"""Write docs/schemas/*.json, the JSON Schemas of the reports that commands print with --json: ``python -m docs.schemas``."""

import ast
import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from phyagi_assets.inspection.check import CheckReport
from phyagi_assets.inspection.copy_report import CopyReport
from phyagi_assets.inspection.describe import InspectReport
from phyagi_assets.inspection.dry_run import DryRunReport
from phyagi_assets.inspection.explain_report import ExplainReport
from phyagi_assets.inspection.forecast import Forecast
from phyagi_assets.inspection.garbage import CleanReport
from phyagi_assets.inspection.loss_report import LossReport
from phyagi_assets.inspection.materialize_report import MaterializeReport
from phyagi_assets.inspection.remove import RemoveReport
from phyagi_assets.inspection.report import Report
from phyagi_assets.inspection.status import StatusReport

FOLDER = Path(__file__).with_name("schemas")
REPORTS: tuple[type[Report], ...] = (
    CheckReport,
    CleanReport,
    CopyReport,
    DryRunReport,
    ExplainReport,
    Forecast,
    InspectReport,
    LossReport,
    MaterializeReport,
    RemoveReport,
    StatusReport,
)


def schemas() -> dict[str, str]:
    """Return the JSON Schemas, by name of the report."""
    return {str(report.model_fields["report"].default): _text(report) for report in REPORTS}


def _text(report: type[Report]) -> str:
    schema = report.json_schema()
    kinds = {kind.__name__: kind for kind in _kinds(report)}
    for name, of in {report.__name__: schema, **schema.get("$defs", {})}.items():
        described = _descriptions(kinds[name])
        for key, field in of.get("properties", {}).items():
            field.pop("title", None)
            if key in described:
                field["description"] = described[key]
        of["description"] = inspect.cleandoc(kinds[name].__doc__ or "").partition("\n\n")[0]
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _kinds(kind: Any) -> set[type]:
    """Return a report or record with the records and dataclasses in its fields."""
    found: set[type] = set()
    if isinstance(kind, type) and (issubclass(kind, BaseModel) or hasattr(kind, "__dataclass_fields__")):
        found.add(kind)
        kinds: list[Any] = list(inspect.get_annotations(kind, eval_str=True).values())
    else:
        kinds = list(getattr(kind, "__args__", ()))
    return found.union(*map(_kinds, kinds)) if kinds else found


def _descriptions(kind: type) -> dict[str, str]:
    """Return the docstrings below the attributes of a class, by attribute."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and isinstance(following, ast.Expr):
            text = ast.literal_eval(following.value)
            found[statement.target.id] = " ".join(inspect.cleandoc(text).replace("``", "`").split())
    return found


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")
