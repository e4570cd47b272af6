"""Context of a run that builds partitions."""

import dagster as dg

Context = dg.AssetExecutionContext | dg.OpExecutionContext
"""Context of a run of assets, or of a job."""


def op_context(context: Context) -> dg.OpExecutionContext:
    """Return the context of the op of a run."""
    return context.op_execution_context if isinstance(context, dg.AssetExecutionContext) else context


def step_key(context: Context) -> str:
    """Return the key of the run's only step."""
    return str(op_context(context).op_handle)
