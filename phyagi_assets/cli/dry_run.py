"""What ``materialize --dry-run`` prints."""

from dataclasses import replace

from phyagi_assets.build.selection import Selection
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.render_state import show_dry_run
from phyagi_assets.inspection.dry_run import DryRunReport, dry_run
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.read_only import read_only


def dry_run_of(selection: Selection, workspace: Workspace, output: Output) -> DryRunReport:
    """Print what would be built, and why, and return it. Nothing is written to the store."""
    output.messages()
    with read_only(workspace.store) as view:
        report = dry_run(selection, replace(workspace, store=view))
    output.report(report, lambda console: show_dry_run(console, report))
    return report
