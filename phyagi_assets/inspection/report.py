"""The reports of the commands: frozen, typed records that are printed for people or as one JSON document.

The JSON Schema of each report is published under docs/schemas. A field is never renamed and never changes its meaning; such a change needs
a new `version` of the report.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A part of a report."""

    model_config = ConfigDict(frozen=True, defer_build=True, json_schema_serialization_defaults_required=True)


class Report(Record):
    """A report: a JSON document with its name and the version of its fields."""

    def to_json(self) -> str:
        """Return the report as JSON, with a line feed at its end."""
        return self.model_dump_json(indent=1, by_alias=True) + "\n"

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of the report, in which every field is present."""
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **cls.model_json_schema(mode="serialization")}
